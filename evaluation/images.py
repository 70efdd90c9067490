"""Checks that every figure makes on the arrays it is given."""

import numpy as np
from numpy.typing import NDArray

from cmr.errors import DataError
from cmr.labels import CLASSES


def to_unit(images: NDArray[np.floating], name: str) -> NDArray[np.float32]:
    """Images (N, H, W) from [-1, 1] to [0, 1], clipped.

    Raises:
        DataError: wrong shape, a value that is not finite, or values far outside [-1, 1], as when grey levels 0-255 are given.
    """
    if images.ndim != 3:
        raise DataError(f"{name} images: shape {images.shape}; expected (N, H, W)")
    images = np.asarray(images, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2)))
    if bad.size:
        raise DataError(f"{name} images: {bad.size} hold values that are not finite (first: row {bad[0]}); make them again")
    if images.size and np.abs(images).max() > 2:
        raise DataError(f"{name} images: values up to {np.abs(images).max():g}; expected [-1, 1]")
    return np.clip((images + 1) / 2, 0, 1)


def check_masks(masks: NDArray[np.integer], name: str) -> NDArray[np.uint8]:
    """Masks (N, H, W) with labels 0-3 as uint8.

    Raises:
        DataError: wrong shape or a label outside 0-3.
    """
    if masks.ndim != 3:
        raise DataError(f"{name} masks: shape {masks.shape}; expected (N, H, W)")
    if masks.size and (masks.min() < 0 or masks.max() >= CLASSES):
        raise DataError(f"{name} masks: labels {masks.min()} to {masks.max()}; expected 0 to {CLASSES - 1}")
    return masks.astype(np.uint8, copy=False)


def check_pairs(first: NDArray, second: NDArray, names: str) -> None:
    """Raises DataError unless both arrays have the same shape."""
    if first.shape != second.shape:
        raise DataError(f"{names}: shapes {first.shape} and {second.shape}; expected the same number and size")


def check_subjects(subjects: NDArray, count: int, name: str) -> NDArray[np.str_]:
    """One patient name an image, as strings.

    Raises:
        DataError: another number of names than of images.
    """
    names = np.asarray(subjects).astype(str)
    if names.shape != (count,):
        raise DataError(f"{name}: {names.shape} patients for {count} images; expected one each")
    return names
