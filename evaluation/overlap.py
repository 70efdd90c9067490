"""Overlap of masks: Dice and IoU of two, and the mean Dice of all pairs of many."""

import numpy as np
from numpy.typing import NDArray

from cmr.labels import STRUCTURES


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """2·|A∩B| / (|A|+|B|) of two boolean arrays of one shape; NaN where both are empty."""
    size = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / size if size else float("nan")


def iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """|A∩B| / |A∪B| of two boolean arrays of one shape; NaN where both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else float("nan")


def pairwise_dice(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean Dice over LV, MYO and RV of every mask of ``first`` (N, H, W) with every mask of ``second`` (M, H, W).

    A structure that neither mask of a pair shows is left out of that pair's mean; two empty masks have 1.

    Returns:
        (N, M), 0 to 1. Memory grows with N·M, so callers go block by block.
    """
    total = np.zeros((len(first), len(second)))
    present = np.zeros_like(total)
    for label in STRUCTURES.values():
        a = (first == label).reshape(len(first), -1).astype(np.float32)  # sums of 0 and 1 are exact in float32
        b = (second == label).reshape(len(second), -1).astype(np.float32)
        size = a.sum(axis=1)[:, None] + b.sum(axis=1)
        total += 2 * (a @ b.T) / np.maximum(size, 1)
        present += size > 0
    return np.where(present > 0, total / np.maximum(present, 1), 1.0)
