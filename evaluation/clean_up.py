"""Mends drawn masks: the largest piece of each structure remains, and holes in the heart are filled."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmr.labels import LV, MYO, RV, STRUCTURES
from evaluation.images import check_masks

EIGHT = np.ones((3, 3), dtype=bool)


def clean_up(masks: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Masks with one piece a structure and no holes, and which of them changed.

    Smaller pieces (8-connected) become background. Background within the LV, the RV, or LV and myocardium taken together takes
    the label of the nearest pixel that has one. A ring that is open stays open.

    Args:
        masks: (N, H, W) labels 0-3.

    Returns:
        (N, H, W) labels, and (N,) whether any pixel of a mask is another.

    Raises:
        DataError: wrong shape or labels.
    """
    masks = check_masks(masks, "cleaned up")
    cleaned = np.stack([_clean(mask) for mask in masks]) if len(masks) else masks.copy()
    return cleaned, (cleaned != masks).any(axis=(1, 2))


def _clean(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    mask = mask.copy()
    for label in STRUCTURES.values():
        pieces, count = ndimage.label(mask == label, EIGHT)
        if count > 1:
            sizes = np.bincount(pieces.ravel())[1:]
            mask[(pieces > 0) & (pieces != sizes.argmax() + 1)] = 0
    heart = [mask == LV, mask == RV, (mask == LV) | (mask == MYO)]
    holes = np.any([ndimage.binary_fill_holes(region) & ~region for region in heart], axis=0) & (mask == 0)
    if holes.any():
        nearest = ndimage.distance_transform_edt(mask == 0, return_distances=False, return_indices=True)
        mask[holes] = mask[tuple(nearest)][holes]
    return mask
