import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cmr.errors import DataError, DataErrors
from cmr.slices import SliceSettings
from mlops.profiles import merged
from mlops.settings import DataSettings, RawSettings, find_root, generator_config, lookup, section, validate_all
from models.config import GeneratorTrainSettings
from tests.mlops.conftest import REPOSITORY


@pytest.fixture
def params() -> dict[str, Any]:
    return copy.deepcopy(merged(REPOSITORY, "demo"))


@pytest.mark.parametrize("profile", sorted(path.stem for path in (REPOSITORY / "profiles").glob("*.yaml")))
def test_every_profile_is_valid(profile: str) -> None:
    params = merged(REPOSITORY, profile)
    validate_all(params)
    assert params["profile"] == profile


def test_a_section_becomes_its_dataclass(demo: Path) -> None:
    slices = section("slices", SliceSettings)
    assert (slices.size, slices.field_of_view_mm) == (64, 160.0)
    assert section("data", DataSettings).raw["acdc"] == RawSettings("data/phantom/acdc", "acdc")
    assert section("seed", int) == 42
    assert section("utility.setups", tuple[str, ...])[0] == "acdc-real"


def test_only_the_asked_section_is_checked(demo: Path) -> None:
    path = demo / "params.yaml"
    path.write_text(path.read_text().replace("validation_share: 0.3", "validation_share: many"))
    assert section("slices", SliceSettings).size == 64


def test_reading_settings_brings_no_torch() -> None:
    code = "import mlops.settings, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("ddpm.train.batch", "abc", 'ddpm.train.batch: found "abc", expected integer'),
        ("ddpm.train.batch", True, "ddpm.train.batch: found true, expected integer"),
        ("ddpm.train.batch", 2.0, "ddpm.train.batch: found 2.0, expected integer"),
        ("ddpm.train.learning_rate", "1e-4", 'ddpm.train.learning_rate: found "1e-4", expected number'),
        ("ddpm.train.optimiser", "adamm", "ddpm.train.optimiser: found \"adamm\", expected 'adam', 'adamw' or 'muon'"),
        ("augment.flip", "no", 'augment.flip: found "no", expected boolean'),
        ("masks.network.widths", 64, "masks.network.widths: found 64, expected list"),
        ("masks.network.kind", "distance", "masks.network.kind: found \"distance\", expected 'one_hot' or 'distances'"),
        ("masks.network.grid", 30, "masks.network: grid must be a multiple"),
        ("masks.network", {}, "masks.network.kind: missing"),
        ("masks.network", 3, "masks.network: found 3"),
        ("data.raw", [], "data.raw: found [], expected mapping"),
        ("splits.validation_share", 1.5, "splits: validation_share is 1.5"),
        ("phantom.slices", 1, "phantom.slices is 1"),
        ("privacy.membership.times", [0.3, 1.5], "privacy.membership: times=[0.3, 1.5]"),
        ("privacy.control.patients", 4, "privacy.control: patients=4; expected at least 5"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(params: dict[str, Any], key: str, value: Any, expected: str) -> None:
    parent, _, last = key.rpartition(".")
    lookup(params, parent)[last] = value
    with pytest.raises(DataErrors) as raised:
        validate_all(params)
    assert len(raised.value.faults) == 1
    assert raised.value.faults[0].startswith(expected)


def test_a_whole_number_will_do_for_a_fraction(params: dict[str, Any]) -> None:
    params["slices"]["field_of_view_mm"] = 160
    params["ddpm"]["train"]["gradient_clip"] = 1
    validate_all(params)


@pytest.mark.parametrize(
    ("parent", "wrong", "nearest"),
    [
        ("", "slice", "slices"),
        ("ddpm.train", "batchs", "batch"),
        ("privacy", "neighbors", "neighbours"),
        ("data.raw.acdc", "rot", "root"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(params: dict[str, Any], parent: str, wrong: str, nearest: str) -> None:
    block = lookup(params, parent) if parent else params
    block[wrong] = 1
    with pytest.raises(DataErrors) as raised:
        validate_all(params)
    (fault,) = raised.value.faults
    assert fault.startswith(f"{parent}.{wrong}".lstrip("."))
    assert f"'{nearest}'" in fault


@pytest.mark.parametrize("key", ["seed", "slices.size", "ddpm.sampling", "tracking.experiment"])
def test_a_missing_key_is_named(params: dict[str, Any], key: str) -> None:
    parent, _, last = key.rpartition(".")
    del (lookup(params, parent) if parent else params)[last]
    with pytest.raises(DataErrors, match=key.replace(".", r"\.")):
        validate_all(params)


def test_all_faults_are_listed_at_once(params: dict[str, Any]) -> None:
    params["seed"] = "x"
    params["slices"]["size"] = None
    params["ddpm"]["train"]["ema"] = "y"
    with pytest.raises(DataErrors) as raised:
        validate_all(params)
    assert len(raised.value.faults) == 3


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("generators.names", ["ddmp"], "found 'ddmp'"),
        ("generators.names", [], "at least one"),
        (
            "generators.train_on",
            ["mms"],
            "found 'mms', expected one of the datasets of data.raw: acdc, mnms. Did you mean 'mnms'?",
        ),
        ("generators.sources", ["full", "full"], "none twice"),
        ("utility.setups", ["mnms-real", "ddpm-test"], "found 'ddpm-test'"),
        ("utility.setups", ["acdc-real"], "'mnms-real' is missing"),
        ("utility.setups", ["mnms-real", "mnms-real-and-ddpm-full"], "found 'mnms-real-and-ddpm-full'"),
        ("utility.with_real", ["ddpm-test"], "found 'ddpm-test', expected one of the synthetic sets"),
        ("utility.real_at_size_of", ["test"], "found 'test', expected one of the mask sources"),
        ("utility.with_real", ["ddpm-full", "ddpm-full"], "none twice"),
        ("utility.more_seeds", [42], "other than `seed`"),
        ("phantom.datasets", ["acdc", "other"], "found 'other'"),
        ("data.raw.acdc.root", "elsewhere", "expected 'data/phantom/acdc'"),
        ("data.raw.acdc.reader", "acdd", "found 'acdd'"),
        ("masks.sampling.sampler", "heun", "found 'heun', expected one of the samplers of masks: ancestral, mild, euler"),
        ("ddpm.sampling.sampler", "dpm+", "Did you mean 'dpm++'?"),
        ("fm.validation.sampler", "dpm++", "one of the samplers of fm: euler, midpoint, heun, dopri5"),
        ("ddpm.sampling.guidance", 2.0, "leaves no mask out"),
        ("ldm.autoencoder", None, "draws latents"),
    ],
)
def test_sections_must_agree(params: dict[str, Any], key: str, value: Any, expected: str) -> None:
    parent, _, last = key.rpartition(".")
    lookup(params, parent)[last] = value
    with pytest.raises(DataErrors) as raised:
        validate_all(params)
    assert any(fault.startswith(key) and expected in fault for fault in raised.value.faults), raised.value.faults


def test_an_autoencoder_is_for_generators_of_latents(params: dict[str, Any]) -> None:
    assert generator_config(params, "ldm").autoencoder.codebook == params["ldm"]["autoencoder"]["network"]["codebook"]
    params["ddpm"]["autoencoder"] = copy.deepcopy(params["ldm"]["autoencoder"])
    with pytest.raises(DataErrors, match=r"ddpm\.autoencoder: expected null"):
        validate_all(params)
    params["ldm"]["autoencoder"]["network"]["codebok"] = 1
    with pytest.raises(DataErrors, match=r"codebok: unknown key\. Did you mean 'codebook'"):
        validate_all(params)


def test_a_generator_added_to_the_registry_has_its_block_checked(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from models import registry

    monkeypatch.setitem(registry.GENERATORS, "toy", "models.ddpm:DDPM")
    validate_all(params)  # registered, not used: needs no block
    params["generators"]["names"].append("toy")
    with pytest.raises(DataErrors, match=r"toy\.network"):
        validate_all(params)
    params["toy"] = copy.deepcopy(params["ddpm"])
    validate_all(params)
    params["toy"]["train"]["batch"] = "x"
    with pytest.raises(DataErrors, match=r"toy\.train\.batch"):
        validate_all(params)


def test_faults_of_the_file_itself(project: Path) -> None:
    with pytest.raises(DataError, match="syncmri configure"):
        section("seed", int)
    (project / "params.yaml").write_text("seed: 1\n  slices: [")
    with pytest.raises(DataError, match=r"params\.yaml, line 2"):
        section("seed", int)
    (project / "params.yaml").write_text("- 1\n")
    with pytest.raises(DataError, match="expected a mapping"):
        section("seed", int)
    (project / "params.yaml").write_text("seeds: 1\n")
    with pytest.raises(DataError, match=r"no key 'seed'.*'seeds'"):
        section("seed", int)


def test_ddpm_train_section(demo: Path) -> None:
    assert section("ddpm.train", GeneratorTrainSettings).batch == 8


def test_the_root_is_found_from_below(project: Path, tmp_path: Path) -> None:
    below = project / "a" / "b"
    below.mkdir(parents=True)
    assert find_root(below) == project
    with pytest.raises(DataError, match=r"no \.dvc folder"):
        find_root(tmp_path)
