"""The report for release knows a real slice or mask again that was mirrored, turned, shifted or negated; unseen hearts pass."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cmr.phantom.acquisition import SCANNERS
from cmr.phantom.patient import PhantomSettings, make_patient
from cmr.store import SliceStore
from pipelines.reporting.likeness import ALIKE, SAME_SHAPE, most_alike, most_overlap
from pipelines.reporting.project import Project
from pipelines.reporting.release import release_of
from tests.pipelines.report_project import build_project

Change = Callable[[NDArray], NDArray]


def _shifted(pictures: NDArray, down: int, right: int) -> NDArray:
    """Shifted, and filled with the darkest value at the edge."""
    size = pictures.shape[-1]
    moved = np.full_like(pictures, pictures.min())
    to, of = ([slice(max(0, way * one), size + min(0, way * one)) for one in (down, right)] for way in (1, -1))
    moved[:, to[0], to[1]] = pictures[:, of[0], of[1]]
    return moved


CHANGES: dict[str, Change] = {
    "same": lambda of: of,
    **{f"turned {90 * turns}": lambda of, turns=turns: np.rot90(of, turns, axes=(1, 2)) for turns in (1, 2, 3)},
    "left to right": lambda of: of[:, :, ::-1],
    "upside down": lambda of: of[:, ::-1],
    "transposed": lambda of: of.transpose(0, 2, 1),
    "transposed the other way": lambda of: np.rot90(of, 2, axes=(1, 2)).transpose(0, 2, 1),
    "shifted by 2": lambda of: np.roll(of, 2, axis=1),
    "shifted by 3 and -1": lambda of: _shifted(of, 3, -1),
    "shifted by 4 and 4": lambda of: _shifted(of, 4, 4),
    "mirrored and shifted": lambda of: _shifted(of[:, :, ::-1], -2, 1),
}
OF_IMAGES: dict[str, Change] = {
    "negated": lambda of: -of,
    "negated, turned and shifted": lambda of: _shifted(-np.rot90(of, 1, axes=(1, 2)), 1, -2),
    "darker and flatter": lambda of: 0.4 * of - 0.3,
    "noisy": lambda of: of + np.random.default_rng(1).normal(0, 0.05, of.shape),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_project(tmp_path_factory.mktemp("project"))


@pytest.mark.parametrize("change", [*CHANGES, *OF_IMAGES])
def test_every_real_slice_is_known_again(root: Path, change: str) -> None:
    for dataset in ("acdc", "mnms"):
        real = SliceStore.open(root / "data/slices" / dataset)
        assert real.images is not None
        images = np.asarray(real.images, np.float32)
        masks = np.asarray(real.masks)
        labelled = masks.any(axis=(1, 2))
        known = most_alike((CHANGES | OF_IMAGES)[change](images), images) > ALIKE
        assert known[labelled].all()
        if change != "noisy":  # an empty slice of this project is noise itself
            assert known.all()
        if change in CHANGES:
            assert (most_overlap(CHANGES[change](masks), masks) > SAME_SHAPE)[labelled].all()


@pytest.mark.parametrize("change", ["left to right", "turned 90", "shifted by 2", "mirrored and shifted", "negated"])
def test_a_generator_of_changed_copies_shows_none(tmp_path: Path, change: str) -> None:
    root = build_project(tmp_path)
    real, drawn = SliceStore.open(root / "data/cohort/train"), SliceStore.open(root / "data/sets/ddpm-full")
    assert real.images is not None
    copies = (CHANGES | OF_IMAGES)[change](np.asarray(real.images[: len(drawn)]))
    SliceStore.write(root / "data/sets/ddpm-full", drawn.index, np.asarray(drawn.masks), copies.astype(np.float16))
    assert release_of(Project(root)).synthetic("ddpm") is None


@pytest.mark.parametrize("change", ["left to right", "turned 90", "shifted by 2", "mirrored and shifted"])
def test_a_mask_model_of_changed_copies_shows_none(tmp_path: Path, change: str) -> None:
    root = build_project(tmp_path)
    real, drawn = SliceStore.open(root / "data/cohort/train"), SliceStore.open(root / "data/sets/ddpm-full")
    copies = CHANGES[change](np.asarray(real.masks[: len(drawn)]))
    SliceStore.write(root / "data/masks/full", drawn.index, copies)
    SliceStore.write(root / "data/sets/ddpm-full", drawn.index, copies, np.asarray(drawn.images))
    assert release_of(Project(root)).synthetic("masks") is None


def test_unseen_hearts_are_shown() -> None:
    """And the comparison of 48 of them with some hundred slices takes seconds."""
    (seen, seen_masks), (unseen, unseen_masks) = (_hearts(range(0, 30)), _hearts(range(100, 104)))
    started = time.perf_counter()
    alike = (most_alike(unseen, seen) > ALIKE) | (most_overlap(unseen_masks, seen_masks) > SAME_SHAPE)
    assert time.perf_counter() - started < 20  # about 1 on an idle core
    assert len(seen) > 300
    assert len(unseen) > 40
    assert alike.mean() < 0.05  # small masks near the apex coincide by chance
    assert (most_alike(seen[::9, ::-1], seen) > ALIKE).all()


def test_even_pictures_and_empty_masks_are_like_none() -> None:
    seen, masks = _hearts(range(2))
    assert not most_alike(np.zeros_like(seen[:2]), seen).any()
    assert not most_overlap(np.zeros_like(masks[:2]), np.concatenate([masks, np.zeros_like(masks[:1])])).any()


def _hearts(seeds: range) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Slices of phantom patients, (N, 64, 64) in [-1, 1], and their masks."""
    images, masks = [], []
    settings = PhantomSettings(slices=6, matrix=96)
    for seed in seeds:
        scanner, pathology = sorted(SCANNERS)[seed % len(SCANNERS)], ("NOR", "DCM", "HCM")[seed % 3]
        patient = make_patient(np.random.SeedSequence(seed), scanner=scanner, pathology=pathology, settings=settings)
        for image, label in zip(patient.images, patient.labels, strict=True):
            centre = np.argwhere(label)[:, 1:].mean(axis=0).round().astype(int)
            rows, columns = (slice(start, start + 64) for start in np.clip(centre - 32, 0, np.array(label.shape[1:]) - 64))
            low, high = np.percentile(image, (1, 99))
            images.append(np.clip(2 * (image[:, rows, columns] - low) / (high - low) - 1, -1, 1))
            masks.append(label[:, rows, columns])
    return np.concatenate(images).astype(np.float32), np.concatenate(masks)
