"""What sweeps judge by: perfect where it must be, bad where it must be, on drawn hearts."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmr.store import SliceStore
from models.checkpoint import save_network
from models.segmenter import Segmenter, SegmenterNetwork
from pipelines.objectives import _Images, _Masks
from tests.evaluation.privacy.membership.networks import tiny
from tests.pipelines import sweep_project

pytestmark = pytest.mark.slow
IMAGES = 6


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = sweep_project.build(tmp_path_factory.mktemp("objectives") / "project", privacy__membership__slices="2")
    torch.manual_seed(0)
    network = Segmenter(SegmenterNetwork((4, 8, 8)))
    (root / "runs/segmenter/mnms-real").mkdir(parents=True)
    save_network(root / "runs/segmenter/mnms-real", SegmenterNetwork((4, 8, 8)), network.state_dict())
    return root


class Drawing:
    """Draws what it was given."""

    def __init__(self, drawn: np.ndarray):
        self.drawn = torch.from_numpy(np.asarray(drawn))

    def sample(self, *_: Any, **__: Any) -> torch.Tensor:
        return self.drawn


def _judge(root: Path, kind: Any, *words: Any) -> Any:
    with contextlib.chdir(root):
        return kind(*words)


def test_real_slices_are_no_distance_from_themselves_and_noise_is(project: Path) -> None:
    real = SliceStore.open(project / "data/cohort/val")
    rows = np.unique(np.linspace(0, len(real) - 1, IMAGES).astype(int))
    slices = np.asarray(real.images[rows], np.float32)[:, None]
    noise = np.random.default_rng(0).uniform(-1, 1, slices.shape).astype(np.float32)
    same, other = (_judge(project, _Images, "ddpm", Drawing(drawn), IMAGES) for drawn in (slices, noise))
    assert same.frechet() == pytest.approx(0, abs=1e-6)
    assert other.frechet() > 1e-3
    assert 0 <= same.adherence() <= 1


def test_real_masks_have_real_shapes_and_empty_ones_have_none(project: Path) -> None:
    real = np.asarray(SliceStore.open(project / "data/cohort/train").masks)
    rows = np.unique(np.linspace(0, len(real) - 1, IMAGES).astype(int))
    same, empty = (_judge(project, _Masks, Drawing(drawn), IMAGES) for drawn in (real[rows], np.zeros_like(real[rows])))
    assert same.shapes() == 0
    assert same.valid_share() > 0.5
    assert empty.shapes() == 1
    assert empty.valid_share() == 0


@pytest.mark.parametrize(("name", "kind"), [("ddpm", _Images), ("masks", _Masks)])
def test_membership_is_an_auc_from_chance_up(project: Path, name: str, kind: Any) -> None:
    network: Any = tiny("distances" if name == "masks" else name)  # the demo's kind of mask model
    with contextlib.chdir(project):
        judge = kind(name, network, IMAGES) if kind is _Images else kind(network, IMAGES)
        assert 0.5 <= judge.membership() <= 1
