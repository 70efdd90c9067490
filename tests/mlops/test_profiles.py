import os
import subprocess
import sys
from pathlib import Path

import pytest

from cmr.errors import DataError, DataErrors
from mlops import profiles
from mlops.profiles import configure, merged
from mlops.settings import load_params
from tests.cmr.raw import add_acdc_patient, add_mnms_patient, table_row, write_table
from tests.mlops.conftest import REPOSITORY


def _setups(*sources: str) -> list[str]:
    return [f"{name}-{source}" for name in ("ddpm", "ldm", "fm") for source in sources]


@pytest.fixture
def acdc(tmp_path: Path) -> Path:
    root = tmp_path / "scans" / "acdc"
    add_acdc_patient(root, "training", "patient001")
    add_acdc_patient(root, "testing", "patient101")
    return root


@pytest.fixture
def mnms(tmp_path: Path) -> Path:
    root = tmp_path / "scans" / "mnms"
    add_mnms_patient(root, "Training/Labeled", "A0S9V9")
    write_table(root, [table_row("A0S9V9")])
    return root


def test_the_committed_params_are_the_demo() -> None:
    assert load_params(REPOSITORY) == merged(REPOSITORY, "demo")


def test_demo(project: Path) -> None:
    path = configure("demo")
    params = load_params(project)
    assert path == project / "params.yaml"
    assert params["profile"] == "demo"
    assert params["phantom"]["datasets"] == ["acdc", "mnms"]
    assert params["slices"]["size"] == 64  # from the overlay
    assert params["slices"]["high_percentile"] == 99.0  # from the reference


def test_comments_survive_and_the_overlays_own_come_first(project: Path) -> None:
    overrides = ["evaluation.confidence=0.9", "ddpm.train.ema=null", "masks.network.widths=[16, 32, 64]"]
    text = configure("demo", overrides=overrides).read_text()
    assert "\nseed: 42  # of everything that is random" in text
    assert "  size: 64  # 2.5 mm a pixel: a quarter of the pixels\n" in text
    assert "  confidence: 0.9  # by --set\n" in text
    assert "    ema: null  # by --set\n" in text
    assert "    widths: [16, 32, 64]  # by --set\n" in text
    assert "\n# ---- Privacy ---" in text
    assert "\n\nslices:\n" in text
    assert "The complete reference" not in text


def test_a_network_of_another_kind_replaces_the_papers_and_a_schedule_of_another_kind_does_not(project: Path) -> None:
    paper, demo = (profiles.merged(project, name) for name in ("paper", "demo"))
    assert (paper["masks"]["network"]["kind"], demo["masks"]["network"]["kind"]) == ("one_hot", "distances")
    assert "schedule" in paper["masks"]["network"]
    assert "schedule" not in demo["masks"]["network"]
    schedule = demo["ddpm"]["network"]["schedule"]
    assert schedule["kind"] == "squaredcos_cap_v2"
    assert schedule.keys() == paper["ddpm"]["network"]["schedule"].keys()


def test_again_is_the_same_file(project: Path) -> None:
    first = configure("demo", overrides=["seed=7"]).read_bytes()
    assert configure("demo", overrides=["seed=7"]).read_bytes() == first
    assert not (project / profiles.BEFORE).exists()


def test_a_replaced_file_is_kept(project: Path) -> None:
    configure("demo", overrides=["seed=7"])
    configure("demo")
    assert "seed: 7" in (project / profiles.BEFORE).read_text()
    assert load_params(project)["seed"] == 42


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("slices.sise=3", "'slices.sise'.*Did you mean 'slices.size'"),
        ("ddpm.trian.batch=3", "Did you mean 'ddpm.train.batch'"),
        ("btach=3", "Did you mean '(masks|ddpm|segmenter|privacy).*batch'"),
        ("slices.size=big", 'slices.size: found "big", expected integer'),
        ("slices.size=true", "slices.size: found true, expected integer"),
        ("slices={size: 3}", "slices.low_percentile: missing"),
        ("slices.size=[", "not readable as a YAML value"),
        ("slices.size", "expected KEY=VALUE"),
        ("generators.names=[ddmp]", "Did you mean 'ddpm'"),
    ],
)
def test_a_wrong_override_leaves_params_untouched(demo: Path, override: str, expected: str) -> None:
    before = (demo / "params.yaml").read_bytes()
    with pytest.raises(DataError, match=expected):
        configure("demo", overrides=["seed=1", override])
    assert (demo / "params.yaml").read_bytes() == before
    assert [path.name for path in demo.glob(".params*")] == []


def test_unknown_profile(project: Path) -> None:
    with pytest.raises(DataError, match="Did you mean 'demo'"):
        configure("demmo")


def test_real_with_both(project: Path, acdc: Path, mnms: Path) -> None:
    configure("real", acdc, Path("../scans/mnms"))
    params = load_params(project)
    assert params["data"]["raw"]["acdc"]["root"] == acdc.as_posix()  # given absolute
    assert params["data"]["raw"]["mnms"]["root"] == "../scans/mnms"  # given relative
    assert params["phantom"]["datasets"] == []
    assert params["generators"]["train_on"] == ["mnms"]


def test_a_folder_in_the_project_is_named_from_its_root(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_acdc_patient(project / "scans", "training", "patient001")
    (project / "sub").mkdir()
    monkeypatch.chdir(project / "sub")
    configure("real", project / "scans")
    assert load_params(project)["data"]["raw"]["acdc"]["root"] == "scans"
    configure("real", Path("../scans"))
    assert load_params(project)["data"]["raw"]["acdc"]["root"] == "scans"


def test_without_mnms(project: Path, acdc: Path) -> None:
    configure("real", acdc)
    params = load_params(project)
    assert list(params["data"]["raw"]) == ["acdc"]
    assert params["generators"]["train_on"] == ["acdc"]
    assert params["generators"]["sources"] == ["full", "test", "acdc"]
    assert params["utility"]["setups"] == ["acdc-real", *_setups("full", "acdc")]


def test_without_acdc(project: Path, mnms: Path) -> None:
    configure("paper", mnms=mnms)
    params = load_params(project)
    assert list(params["data"]["raw"]) == ["mnms"]
    assert params["generators"]["train_on"] == ["mnms"]
    added = [f"mnms-real-and-{generator}-full" for generator in ("ddpm", "ldm", "fm")]
    assert params["utility"]["setups"] == ["mnms-real", *_setups("full", "mnms"), *added]
    assert params["utility"]["real_at_size_of"] == []


def test_a_profile_on_top_of_another(project: Path, acdc: Path, mnms: Path) -> None:
    configure("real-full", acdc, mnms)
    params = load_params(project)
    assert (params["profile"], "based_on" in params) == ("real-full", False)
    assert params["slices"]["size"] == 64  # real's
    assert params["ddpm"]["train"]["max_steps"] == 9600  # its own
    assert "mnms-real-as-acdc" in params["utility"]["setups"]


def test_a_phantom_beside_a_real_dataset(project: Path, acdc: Path) -> None:
    configure("demo", acdc)
    params = load_params(project)
    assert params["phantom"]["datasets"] == ["mnms"]
    assert params["data"]["raw"]["mnms"]["root"] == "data/phantom/mnms"


def test_real_needs_a_folder(demo: Path) -> None:
    before = (demo / "params.yaml").read_bytes()
    with pytest.raises(DataError, match="--acdc DIR, --mnms DIR or both"):
        configure("real")
    assert (demo / "params.yaml").read_bytes() == before


def test_folders_that_are_not_that_dataset(demo: Path, acdc: Path, mnms: Path, tmp_path: Path) -> None:
    before = (demo / "params.yaml").read_bytes()
    (tmp_path / "empty").mkdir()
    for folder, expected in [(tmp_path / "nowhere", "doesn't exist"), (tmp_path / "empty", "empty"), (mnms, "looks like M&Ms")]:
        with pytest.raises(DataError, match=expected):
            configure("real", folder, mnms)
    assert (demo / "params.yaml").read_bytes() == before


def test_skip_bad(project: Path, acdc: Path) -> None:
    configure("real", acdc)
    assert load_params(project)["data"]["skip_bad"] is False
    configure("real", acdc, skip_bad=True)
    assert load_params(project)["data"]["skip_bad"] is True


def test_outside_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="Change into your checkout"):
        configure("demo")


def test_a_broken_overlay_is_named(project: Path) -> None:
    (project / "profiles" / "mine.yaml").write_text((project / "profiles" / "demo.yaml").read_text() + "\nslice:\n  size: 3\n")
    with pytest.raises(DataErrors, match=r"slice: unknown key\. Did you mean 'slices'"):
        configure("mine")


def test_a_profile_may_state_its_own_dataset(project: Path) -> None:
    own = "profile: ward\ndata: {raw: {ward: {root: scans/ward, reader: acdc}}}\n"
    own += "generators: {train_on: [ward], sources: [full, test, ward]}\nutility: {setups: [ward-real, ddpm-full, ddpm-ward]}\n"
    (project / "profiles" / "ward.yaml").write_text(own)
    configure("ward")
    params = load_params(project)
    assert list(params["data"]["raw"]) == ["ward"]
    assert params["generators"]["sources"] == ["full", "test", "ward"]


def test_take_in_copies_under_dvc_and_leaves_the_original_alone(versioned: Path, acdc: Path) -> None:
    original = acdc / "training" / "patient001" / "Info.cfg"
    content, mode = original.read_bytes(), original.stat().st_mode
    configure("real", acdc, take_in=True)
    taken = versioned / "data" / "raw" / "acdc"
    assert load_params(versioned)["data"]["raw"]["acdc"]["root"] == "data/raw/acdc"
    first = (versioned / "data" / "raw" / "acdc.dvc").read_text()
    assert original.stat().st_mode == mode
    (taken / "training" / "patient001" / "Info.cfg").write_text("changed")
    assert original.read_bytes() == content

    add_acdc_patient(acdc, "training", "patient002")
    configure("real", acdc, take_in=True)
    assert (taken / "training" / "patient001" / "Info.cfg").read_bytes() == content
    assert (taken / "training" / "patient002").is_dir()
    assert (versioned / "data" / "raw" / "acdc.dvc").read_text() != first

    configure("real", Path("data/raw/acdc"), take_in=True)  # where it lies already
    assert (taken / "training" / "patient002").is_dir()
    status = subprocess.run([sys.executable, "-m", "dvc", "status", "--quiet"], cwd=versioned)
    assert status.returncode == 0


def test_a_full_disk_while_taking_in_leaves_nothing(versioned: Path, acdc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(profiles.take_in_raw.__module__ + "._link_or_copy", full)
    with pytest.raises(DataError, match="disk is full"):
        configure("real", acdc, take_in=True)
    assert not (versioned / "params.yaml").exists()
    assert list((versioned / "data" / "raw").iterdir()) == []
