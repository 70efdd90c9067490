"""Do images follow their masks? Read by a segmenter that was trained on real scans."""

import numpy as np
from numpy.typing import NDArray

from cmr.labels import STRUCTURES
from evaluation.overlap import dice


def mask_adherence(read: NDArray[np.uint8], masks: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean Dice over the structures that a mask shows, between the mask and the segmenter's reading of its image.

    Args:
        read: (N, H, W) labels that the segmenter found in the images.
        masks: (N, H, W) labels that the images were made for.

    Returns:
        (N,) in [0, 1], 1 is best; NaN for a mask without any structure.
    """
    scores = np.full(len(masks), np.nan)
    for row, (found, wanted) in enumerate(zip(read, masks, strict=True)):
        shown = [label for label in STRUCTURES.values() if (wanted == label).any()]
        if shown:
            scores[row] = np.mean([dice(found == label, wanted == label) for label in shown])
    return scores
