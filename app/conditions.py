"""Masks that a user gives, brought onto the grid of a generator."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmr.errors import DataError
from cmr.folder import ImageSet, read_masks
from cmr.labels import BACKGROUND
from cmr.limit import OWN, Limit
from cmr.preprocess import resample
from cmr.slices import crop, heart_window

_NARROWEST_MM, _WIDEST_MM = 1.0, 1000.0  # scanners see half a metre


def given_masks(path: Path, size: int, pixel_mm: float, limit: Limit = OWN) -> NDArray[np.uint8]:
    """The masks with a heart in a file (NIfTI, PNG), a folder of them, or a slice store, as the generator takes them.

    Where their pixel size is known and another one, they are resampled (nearest neighbour); where they are larger or smaller
    than its window, the window is centred on the heart, as in preprocessing.

    Args:
        size, pixel_mm: rows (and columns) and their distance, of the generator.
        limit: how much each file may hold.

    Returns:
        (N, size, size) labels 0-3.

    Raises:
        DataError: no masks, no heart in them, labels other than 0-3, or masks of another size whose pixel size is not known.
    """
    given = read_masks(path, limit)
    assert given.masks is not None
    masks = given.masks[(given.masks != BACKGROUND).any(axis=(1, 2))]
    if not len(masks):
        raise DataError(f"{path}: all {len(given.masks)} masks are empty; expected the labels 1 LV, 2 MYO, 3 RV somewhere")
    return on_grid(masks, _spacing(given, size, pixel_mm), size, pixel_mm)


def on_grid(masks: NDArray[np.uint8], spacing_mm: tuple[float, float], size: int, pixel_mm: float) -> NDArray[np.uint8]:
    """Masks (N, H, W) of pixels ``spacing_mm`` (row, column) as (N, size, size) of ``pixel_mm``, centred on the heart.

    Raises:
        DataError: they cover more than a scanner sees (resampled, they could fill the memory), or next to nothing.
    """
    extents_mm = [count * distance for count, distance in zip(masks.shape[1:], spacing_mm, strict=True)]
    if not _NARROWEST_MM <= min(extents_mm) <= max(extents_mm) <= _WIDEST_MM:
        raise DataError(
            f"masks of {masks.shape[1]} × {masks.shape[2]} pixels of {spacing_mm[0]:g} × {spacing_mm[1]:g} mm cover "
            f"{extents_mm[0]:g} × {extents_mm[1]:g} mm; {_NARROWEST_MM:g} to {_WIDEST_MM:g} mm were expected: correct the "
            "pixel size in the file's header"
        )
    return np.stack([_one_on_grid(mask, spacing_mm, size, pixel_mm) for mask in masks])


def _one_on_grid(mask: NDArray[np.uint8], spacing_mm: tuple[float, float], size: int, pixel_mm: float) -> NDArray[np.uint8]:
    """One mask alone: the resampled field of view of a whole volume can be fifty times what is kept of it."""
    if not np.allclose(spacing_mm, pixel_mm, rtol=1e-3):
        [mask] = resample(mask[None], (1.0, *spacing_mm), pixel_mm, nearest=True)
    if mask.shape == (size, size):
        return mask
    row, column, _ = heart_window(mask != BACKGROUND, size)
    return crop(mask, row, column, size, BACKGROUND)


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
