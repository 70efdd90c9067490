"""Images, masks and signals do not depend on how the work is cut into parts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmr.store import SliceStore
from evaluation.privacy.membership import Signals
from evaluation.privacy.membership.settings import MembershipSettings
from models.checkpoint import save_network
from models.config import ImageSamplingSettings, MaskSamplingSettings
from pipelines.drawing import draw_images, draw_masks, image_tasks, mask_tasks, trained
from pipelines.signals import Attacked, Rows, read_some
from pipelines.stage import write_json
from tests.evaluation.privacy.membership.networks import tiny
from tests.pipelines.report_project import build_project

SEEDS = list(range(100, 107))
HOW = ImageSamplingSettings(sampler="ddim", steps=3, guidance=1.0, micro_batch=7, precision="float32")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices of drawn hearts and an untrained network of each kind."""
    root = tmp_path_factory.mktemp("project")
    build_project(root, generators=("ddpm",), figures=False, size=16)
    for name in ("ddpm", "ldm", "fm", "masks"):
        _save(root / "runs" / name, tiny(name), "first")
    return root


def _save(folder: Path, network: Any, key: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_network(folder, network.config, network.state_dict())
    write_json(folder / "run.json", {"run_key": key})


@pytest.fixture(autouse=True)
def _inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


@pytest.mark.parametrize("generator", ["ddpm", "ldm", "fm"])
def test_an_image_is_the_same_however_many_are_drawn_with_it(generator):
    how = replace(HOW, sampler="heun") if generator == "fm" else HOW
    whole, ways = zip(*(_cut(generator, how, size) for size in (7, 3, 1)), strict=True)
    assert whole[0].shape == (7, 16, 16)
    assert np.ptp(whole[0], axis=0).max() > 0.05  # images of different seeds differ
    for images, way in zip(whole[1:], ways[1:], strict=True):
        assert np.abs(images - whole[0]).max() < 2e-3  # half a step of float16 beside the rounding of other batches
        assert np.abs(way - ways[0]).max() < 4e-3


def _cut(generator: str, how: ImageSamplingSettings, size: int) -> tuple[np.ndarray, np.ndarray]:
    drawn = [draw_images(task) for task in image_tasks(generator, "full", SEEDS, replace(how, micro_batch=size), 4)]
    (way,) = [one.states for one in drawn if one.states is not None]
    return np.concatenate([one.pixels for one in drawn]).astype(np.float32), way.astype(np.float32)


@pytest.mark.parametrize(("kind", "sampler"), [("masks", "ddim"), ("distances", "ancestral")])
def test_a_mask_is_the_same_however_many_are_drawn_with_it(project, kind, sampler):
    _save(project / "runs/masks", tiny(kind), kind)  # its own config.json says of which kind it is
    how = MaskSamplingSettings(sampler, 3, 7, "float32", 1, False)
    cuts = [
        np.concatenate([draw_masks(task).pixels for task in mask_tasks(16, SEEDS, replace(how, micro_batch=size))])
        for size in (7, 2)
    ]
    assert cuts[0].shape == (7, 16, 16)
    assert (cuts[0] == cuts[1]).mean() > 0.999  # a tie between two classes may fall either way


@pytest.mark.parametrize("name", ["ddpm", "masks"])
def test_signals_are_the_same_however_the_rows_are_cut(name):
    settings = MembershipSettings(times=(0.3, 0.6), noises=2, slices=None, batch=4)
    rows = Rows([("data/cohort/train", np.array([5, 1, 3, 0])), ("data/cohort/val", np.array([2, 0]))])
    assert [len(few.store()) for few in rows.few(3)] == [3, 1, 2]
    cuts = [
        Signals.joined([read_some(Attacked(name, Path("runs") / name, few, settings, 0)) for few in rows.few(size)])
        for size in (4, 1)
    ]
    assert cuts[0].naive.shape == (6, 2)
    train, val = (SliceStore.open(f"data/cohort/{split}") for split in ("train", "val"))
    assert (rows.store().masks == np.concatenate([train.masks[[5, 1, 3, 0]], val.masks[[2, 0]]])).all()
    for signal in ("naive", "frequency", "coarse", "dissimilarity", "pia"):
        one, other = (getattr(cut, signal) for cut in cuts)
        assert other == pytest.approx(one, rel=1e-3, abs=1e-5)
        assert len(np.unique(one.round(6))) > 3  # slices differ


def test_a_network_is_read_once_until_it_is_trained_again(project):
    first = trained(Path("runs/masks"), "masks")
    assert trained(Path("runs/masks"), "masks") is first
    _save(project / "runs/masks", tiny("masks"), "second")
    assert trained(Path("runs/masks"), "masks") is not first
