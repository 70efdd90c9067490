"""benchmarks/quality.py on a small project: hearts for slices, an untrained reader, a few seconds of training."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from numpy.typing import NDArray

from benchmarks import quality
from benchmarks.yardstick import BANDS, Project, Yardstick, spectrum
from cmr.errors import DataError
from cmr.store import SliceStore
from mlops.profiles import merged
from models.checkpoint import save_network
from models.segmenter import Segmenter, SegmenterNetwork
from tests.pipelines.project import TINY
from tests.pipelines.report_project import heart, picture

SIZE = 32
COUNTS = {"train": 24, "holdout": 20, "test": 12}
"""Slices of each split, four a patient."""
SETS = [
    "ddpm.network.condition=distances",
    "ddpm.network.gaussian={components: 4, cells: 8, block: 4, slices: 64}",
    "ddpm.network.schedule.prediction=residual",
    "ddpm.train.optimiser=muon",
    "ddpm.sampling.sampler=ancestral",
    "ldm.network.condition=one_hot",
    "ldm.network.gaussian=null",
    "ldm.network.schedule.prediction=v_prediction",
]


def pixels(images: NDArray[np.floating]) -> NDArray[np.float64]:
    """Features that need no weights from elsewhere: the image on 8 × 8 cells."""
    return images.astype(np.float64).reshape(len(images), 8, SIZE // 8, 8, SIZE // 8).mean(axis=(2, 4)).reshape(len(images), 64)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    params = merged(Path(__file__).parents[2], "demo")
    for key, value in TINY.items():
        quality.apply(params, f"{key}={value}")
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        masks = np.stack([heart(rng, SIZE) for _ in range(count)])
        index = pd.DataFrame({"subject": [f"{split}-{row // 4}" for row in range(count)]})
        SliceStore.write(root / "data/cohort" / split, index, masks, np.stack([picture(mask, rng) for mask in masks]))
    reader = SegmenterNetwork((4, 8, 8))
    (root / "runs/segmenter/mnms-real").mkdir(parents=True)
    torch.manual_seed(0)
    save_network(root / "runs/segmenter/mnms-real", reader, Segmenter(reader).state_dict())
    return root


@pytest.fixture
def yardstick(project: Path, monkeypatch: pytest.MonkeyPatch) -> Yardstick:
    monkeypatch.chdir(project)
    return Yardstick(Project.open(yaml.safe_load(Path("params.yaml").read_text())), pixels, 8)


@pytest.mark.slow
def test_a_row_a_training_is_printed_and_written(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quality, "InceptionFeatures", lambda: pixels)
    words = ["--project", str(project), "--generators", "ddpm,ldm", "--seconds", "0.5", "--seeds", "1", "--images", "8"]
    changes = [word for change in SETS for word in ("--set", change)]
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    monkeypatch.setattr(sys, "argv", ["quality", *words, *changes, "--out", str(tmp_path / "found.json")])
    quality.main()
    assert before == {path: path.stat().st_mtime_ns for path in project.rglob("*")}  # it is only read

    rows = json.loads((tmp_path / "found.json").read_text())
    assert [(row["generator"], row["seconds"], row["seed"]) for row in rows] == [("ddpm", 0.5, 1), ("ldm", 0.5, 1)]
    for row in rows:
        assert row["set"] == SETS
        assert row["training"]["steps"] >= quality.FEWEST
        assert row["training"]["seconds"] > 0
        assert row["floor"]["n"] == 8
        assert set(row["masks"]) == {"train", "test"}
        for figures in row["masks"].values():
            assert figures["n"] == 8
            assert len(figures["spectrum"]) == BANDS
            assert 0 <= figures["adherence"] <= 1
            assert min(figures["fid"], figures["segmenter_frechet"], *figures["nearest"].values()) > 0
            assert figures["seconds_per_image"] > 0
    ddpm, ldm = rows
    assert ddpm["sampling"]["sampler"] == "ancestral"
    assert ddpm["linear"]["holdout"] == pytest.approx(ddpm["linear"]["training"], rel=0.2)
    assert ldm["linear"] is None
    assert ldm["training"]["autoencoder_steps"] >= quality.FEWEST
    assert "real slices" in capsys.readouterr().out


class Answer(torch.nn.Module):
    """Draws given slices, whatever the mask."""

    def __init__(self, images: NDArray[np.float32]):
        super().__init__()
        self.images, self.seen = torch.from_numpy(images)[:, None], 0

    def sample(self, masks: torch.Tensor, seeds: list[int], **_: Any) -> torch.Tensor:
        self.seen += len(masks)
        return self.images[self.seen - len(masks) : self.seen]


def _measured(yardstick: Yardstick, images: NDArray[np.float32], source: str) -> dict[str, Any]:
    how = quality.ImageSamplingSettings("any", 1, 3, "float32", 1.0)
    return yardstick.measure(Answer(images), how, source, seed=0)  # type: ignore[arg-type]


def test_copies_lie_at_distance_0_and_real_slices_near_the_floor(yardstick: Yardstick) -> None:
    source = yardstick.sources["train"]
    own = np.asarray(source.images, np.float32)
    copies = _measured(yardstick, own, "train")
    assert copies["adherence"] == copies["adherence_real"]
    assert copies["kid"] < 0.02
    noise = np.random.default_rng(0).uniform(-1, 1, own.shape).astype(np.float32)
    noisy = _measured(yardstick, noise, "train")
    assert noisy["kid"] > copies["kid"] + 0.05
    assert noisy["fid"] > 2 * yardstick.floor["fid"]
    assert noisy["nearest"]["training"] > 2 * copies["nearest"]["holdout"]
    remembered = _measured(yardstick, yardstick.near["training"][:8], "train")
    assert remembered["nearest"]["training"] == pytest.approx(0, abs=1e-3)
    assert remembered["nearest"]["holdout"] > 0.05
    assert yardstick.floor["nearest"]["training"] == pytest.approx(yardstick.floor["nearest"]["holdout"], rel=0.2)
    assert len(yardstick.near["training"]) == len(yardstick.near["holdout"]) == 20


def test_masks_of_unseen_patients_are_those_of_the_test_set(yardstick: Yardstick) -> None:
    assert set(yardstick.sources["test"].index["subject"]) <= {"test-0", "test-1", "test-2"}
    assert set(yardstick.sources["train"].index["subject"]) <= {f"train-{number}" for number in range(6)}


def test_the_spectrum_is_the_power_in_each_ring() -> None:
    """White noise has the same in all, a wave has all in one, and brightness plays no part."""
    rng = np.random.default_rng(0)
    assert spectrum(3 + rng.normal(0, 2, (200, 32, 32))) == pytest.approx(np.full(BANDS, 4 * 32**2), rel=0.05)
    wave = np.cos(2 * np.pi * 5 / 32 * np.arange(32))[None, :, None] * np.ones((1, 1, 32))  # 5 of 16: the third band of 2 each
    power = spectrum(wave)
    assert power.argmax() == 2
    assert np.delete(power, 2) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "message"), [("ddpm.train.batch", "expected KEY=VALUE"), ("ddpm.trian.batch=8", "no key"), ("seed={", "YAML")]
)
def test_changes_that_cannot_be_made_are_named(change: str, message: str) -> None:
    params = {"seed": 1, "ddpm": {"train": {"batch": 4}}}
    with pytest.raises(DataError, match=message):
        quality.apply(params, change)


def test_a_change_reaches_the_parameter() -> None:
    params: dict[str, Any] = {"ddpm": {"network": {"widths": [8]}}}
    quality.apply(params, "ddpm.network.widths=[16, 32]")
    quality.apply(params, "ddpm.network.condition=distances")  # params.yaml of an older project lacks the key
    assert params == {"ddpm": {"network": {"widths": [16, 32], "condition": "distances"}}}
