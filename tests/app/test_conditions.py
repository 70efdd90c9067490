import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.conditions import given_masks, on_grid
from cmr.errors import DataError
from cmr.nifti import write_volume


def _disc(size: int, row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return (np.hypot(y - row, x - column) <= radius).astype(np.uint8)


def test_a_mask_on_the_grid_stays_as_it_is(tmp_path: Path) -> None:
    mask = _disc(32, 9, 20, 5)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(given_masks(tmp_path / "mask.png", 32, 5.0), mask[None])


def test_a_volume_is_resampled_and_centred_on_each_heart(tmp_path: Path) -> None:
    slices = [np.zeros((100, 100), np.uint8), _disc(100, 30, 60, 12), _disc(100, 34, 62, 8)]
    write_volume(tmp_path / "mask.nii.gz", np.stack(slices), (8.0, 1.5, 1.5), np.eye(4))
    masks = given_masks(tmp_path / "mask.nii.gz", 32, 3.0)
    assert masks.shape == (2, 32, 32)
    for mask, radius in zip(masks, (12, 8), strict=True):
        assert mask.sum() * 9 == pytest.approx(np.pi * (radius * 1.5) ** 2, rel=0.06)  # mm²
        np.testing.assert_allclose(np.argwhere(mask).mean(axis=0), 15.5, atol=0.75)


def test_masks_of_an_unknown_pixel_size_must_fit(tmp_path: Path) -> None:
    Image.fromarray(_disc(40, 20, 20, 6)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="40 × 40 pixels whose size in mm is not known; give 32 × 32"):
        given_masks(tmp_path / "mask.png", 32, 5.0)


def test_masks_without_a_heart_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="all 1 masks are empty"):
        given_masks(tmp_path / "mask.png", 32, 5.0)


def test_many_slices_of_large_pixels_take_little_memory() -> None:
    masks = np.stack([_disc(256, 128, 120, 10)] * 64)
    tracemalloc.start()
    try:
        kept = on_grid(masks, (3.9, 3.9), 256, 0.625)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept.shape == (64, 256, 256)
    assert (kept > 0).any(axis=(1, 2)).all()
    assert peak < 40 << 20  # all slices resampled at once are 160 MB
