"""Shape of the cardiac structures in a mask (paper, section III-C1 and Table III)."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage import measure

from cmr.labels import STRUCTURES
from evaluation.images import check_masks

FEATURES = ("pixel_share", "area", "roundness", "eccentricity", "solidity")


def measure_shapes(masks: NDArray[np.uint8]) -> pd.DataFrame:
    """Shape features of each structure present in each mask.

    ``pixel_share`` counts all pixels of the structure (% of the image); the other features describe its largest 8-connected
    component, as it is: the myocardium keeps its hole, so that a perfect ring is neither round nor solid (the paper's means,
    0.19 and 0.54, can be reached in no other way).

    Args:
        masks: (N, H, W) labels 0-3.

    Returns:
        One row a mask and structure that is present, with columns ``mask`` (row number), ``structure``, ``pixel_share`` (%),
        ``area`` (pixels), ``roundness`` (0-1), ``eccentricity`` (0-1), ``solidity`` (0-1).

    Raises:
        DataError: wrong shape or labels.
    """
    masks = check_masks(masks, "measured")
    rows = [
        {"mask": number, "structure": structure, **_features(mask == label)}
        for number, mask in enumerate(masks)
        for structure, label in STRUCTURES.items()
        if (mask == label).any()
    ]
    return pd.DataFrame(rows, columns=["mask", "structure", *FEATURES])


def _features(region: NDArray[np.bool_]) -> dict[str, float]:
    components = measure.regionprops(measure.label(region, connectivity=2))
    largest = max(components, key=lambda component: component.area)
    return {
        "pixel_share": 100 * float(region.mean()),
        "area": float(largest.area),
        "roundness": roundness(largest.area, largest.perimeter),
        "eccentricity": float(largest.eccentricity),
        "solidity": float(largest.solidity),
    }


def roundness(area: float, perimeter: float) -> float:
    """4πA/P², at most 1: an ideal disc has 1, and blobs of a few pixels, whose perimeter is underestimated, would exceed it."""
    return min(1.0, 4 * np.pi * area / perimeter**2) if perimeter > 0 else 1.0
