"""Masks that a user gives, brought onto the grid of a generator."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmr.errors import DataError
from cmr.folder import ImageSet, read_masks
from cmr.labels import BACKGROUND
from cmr.preprocess import resample
from cmr.slices import crop, heart_window


def given_masks(path: Path, size: int, pixel_mm: float) -> NDArray[np.uint8]:
    """The masks with a heart in a file (NIfTI, PNG), a folder of them, or a slice store, as the generator takes them.

    Where their pixel size is known and another one, they are resampled (nearest neighbour); where they are larger or smaller
    than its window, the window is centred on the heart, as in preprocessing.

    Args:
        size, pixel_mm: rows (and columns) and their distance, of the generator.

    Returns:
        (N, size, size) labels 0-3.

    Raises:
        DataError: no masks, no heart in them, labels other than 0-3, or masks of another size whose pixel size is not known.
    """
    given = read_masks(path)
    assert given.masks is not None
    masks = given.masks[(given.masks != BACKGROUND).any(axis=(1, 2))]
    if not len(masks):
        raise DataError(f"{path}: all {len(given.masks)} masks are empty; expected the labels 1 LV, 2 MYO, 3 RV somewhere")
    return on_grid(masks, _spacing(given, size, pixel_mm), size, pixel_mm)


def on_grid(masks: NDArray[np.uint8], spacing_mm: tuple[float, float], size: int, pixel_mm: float) -> NDArray[np.uint8]:
    """Masks (N, H, W) of pixels ``spacing_mm`` (row, column) as (N, size, size) of ``pixel_mm``, centred on the heart."""
    if not np.allclose(spacing_mm, pixel_mm, rtol=1e-3):
        masks = resample(masks, (1.0, *spacing_mm), pixel_mm, nearest=True)
    if masks.shape[1:] == (size, size):
        return masks
    windows = [heart_window(mask != BACKGROUND, size) for mask in masks]
    return np.stack([crop(mask, row, column, size, BACKGROUND) for mask, (row, column, _) in zip(masks, windows, strict=True)])


def _spacing(given: ImageSet, size: int, pixel_mm: float) -> tuple[float, float]:
    if known := given.pixel_mm:
        return known
    assert given.masks is not None
    height, width = given.masks.shape[1:]
    if (height, width) != (size, size):
        raise DataError(
            f"{given.path}: masks of {height} × {width} pixels whose size in mm is not known; give {size} × {size} pixels of "
            f"{pixel_mm:g} mm, or NIfTI files, whose header tells the pixel size"
        )
    return pixel_mm, pixel_mm
