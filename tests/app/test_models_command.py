"""``syncmri models``: every network of a profile, built and measured."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from cmr.errors import DataError
from mlops.profiles import merged
from mlops.sizes import cost_table, network_costs
from models.cost import Cost
from tests.app.test_cli import syncmri
from tests.mlops.conftest import REPOSITORY

MILLION = 1e6


@pytest.fixture(scope="module")
def paper() -> dict[str, Cost]:
    return network_costs(merged(REPOSITORY, "paper"))


def test_the_papers_networks_have_the_papers_sizes(paper: dict[str, Cost]) -> None:
    assert list(paper) == ["masks", "ddpm", "ldm.autoencoder", "ldm", "fm", "segmenter"]
    assert paper["ddpm"].parameters / MILLION == pytest.approx(113.67, abs=0.005)
    assert paper["fm"].parts["unet"].parameters / MILLION == pytest.approx(63.09, abs=0.005)
    assert paper["fm"].parts["controlnet"].parameters / MILLION == pytest.approx(30.1, abs=0.05)
    assert paper["segmenter"].parameters / MILLION == pytest.approx(7.76, abs=0.005)


def test_a_latent_network_computes_less_than_a_pixel_network_of_its_size(paper: dict[str, Cost]) -> None:
    ldm, ddpm = paper["ldm"], paper["ddpm"]
    assert ldm.macs / ldm.parameters < ddpm.macs / ddpm.parameters / 3
    assert ldm.parts["autoencoder"].activations == 0  # frozen
    assert paper["ldm.autoencoder"].activations > 0
    assert ldm.parts["autoencoder"].parameters == paper["ldm.autoencoder"].parameters


@pytest.mark.parametrize("name", ["masks", "ddpm", "ldm.autoencoder", "ldm", "fm", "segmenter"])
def test_every_network_has_every_figure(paper: dict[str, Cost], name: str) -> None:
    cost = paper[name]
    assert min(cost.parameters, cost.macs, cost.activations) > 0
    assert cost.checkpoint >= 4 * cost.parameters
    assert cost.parameters == sum(part.parameters for part in cost.parts.values())
    assert cost.macs == pytest.approx(sum(part.macs for part in cost.parts.values()), rel=0.02)


def test_half_the_side_is_a_quarter_of_the_work(paper: dict[str, Cost]) -> None:
    params = merged(REPOSITORY, "paper")
    params = {**params, "slices": {**params["slices"], "size": 64}}
    small = network_costs({name: block for name, block in params.items() if name not in ("ldm", "fm", "ddpm")})
    assert list(small) == ["masks", "segmenter"]  # a generator without a block is left out
    assert small["segmenter"].macs == pytest.approx(paper["segmenter"].macs / 4, rel=0.01)
    assert small["segmenter"].parameters == paper["segmenter"].parameters


def test_the_table_has_a_row_for_each_network_and_for_the_parts_of_those_that_have_several() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(cost_table(merged(REPOSITORY, "demo")))
    first = [line.split()[0] for line in console.export_text().splitlines() if line.strip()]
    for name in ("masks", "ddpm", "ldm.autoencoder", "ldm", "fm", "controlnet", "segmenter"):
        assert first.count(name) == 1
    assert first.count("unet") == 2  # of ldm and fm


def test_settings_that_make_no_network_are_an_error_for_people() -> None:
    params = merged(REPOSITORY, "demo")
    params["ddpm"]["network"]["attention"] = [False]
    with pytest.raises(DataError, match=r"params.yaml: .*attention"):
        network_costs(params)
    params["ddpm"]["network"]["attention"] = "none"
    with pytest.raises(DataError, match=r"ddpm.network.attention: found \"none\""):
        network_costs(params)


@pytest.mark.slow
def test_the_command_works_in_a_project_that_was_never_trained_and_writes_nothing(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "profiles", tmp_path / "profiles")
    (tmp_path / ".dvc").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = syncmri(tmp_path, "models", "--profile", "paper")
    assert done.returncode == 0, done.stderr
    assert "113.67" in done.stdout
    assert sorted(tmp_path.rglob("*")) == before
    done = syncmri(tmp_path, "models")
    assert done.returncode == 1
    assert "syncmri configure" in done.stderr
    shutil.copyfile(REPOSITORY / "params.yaml", tmp_path / "params.yaml")
    done = syncmri(tmp_path, "models")
    assert done.returncode == 0, done.stderr
    assert "profile demo" in done.stdout


def test_an_unknown_profile_is_one_message(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "profiles", tmp_path / "profiles")
    (tmp_path / ".dvc").mkdir()
    done = syncmri(tmp_path, "models", "--profile", "papper")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Did you mean 'paper'" in done.stderr
