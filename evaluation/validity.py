"""Is a mask a possible short-axis slice of a heart?

Real masks fail some of these checks too (the ring is open near the base), so every share is reported for real masks beside.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from cmr.labels import LV, MYO, RV, STRUCTURES
from evaluation.images import check_masks

EIGHT = np.ones((3, 3), dtype=bool)
CHECKS = ("components", "holes", "ring", "lv_inside", "rv_touching")


def check_anatomy(masks: NDArray[np.uint8]) -> pd.DataFrame:
    """Anatomical checks of each mask.

    - ``components``: each structure that is present is one 8-connected piece;
    - ``holes``: no hole in the LV, in the RV, or in LV and myocardium taken together;
    - ``ring``: where there is an LV, the myocardium closes around something;
    - ``lv_inside``: all of the LV lies within the myocardium's closed outline;
    - ``rv_touching``: where RV and myocardium are both present, they touch (8-neighbours).

    A slice may lack structures (the apex has no RV, the very base may have an RV only); a check that does not apply is passed.
    A mask without any structure fails all of them.

    Args:
        masks: (N, H, W) labels 0-3.

    Returns:
        (N, 6) booleans, columns :data:`CHECKS` and ``valid`` (all of them).

    Raises:
        DataError: wrong shape or labels.
    """
    masks = check_masks(masks, "checked")
    table = pd.DataFrame([_check(mask) for mask in masks], columns=list(CHECKS), dtype=bool)
    return table.assign(valid=table.all(axis=1))


def _check(mask: NDArray[np.uint8]) -> tuple[bool, ...]:
    if not mask.any():
        return (False,) * len(CHECKS)
    lv, myocardium, rv = (mask == label for label in (LV, MYO, RV))
    inside = ndimage.binary_fill_holes(myocardium)  # 4-connected outside: a ring closed by corners alone counts as closed
    return (
        all(ndimage.label(mask == label, EIGHT)[1] <= 1 for label in STRUCTURES.values()),
        not any(_has_hole(region) for region in (lv, rv, lv | myocardium)),
        not lv.any() or bool((inside & ~myocardium).any()),
        not (lv & ~inside).any(),
        not (rv.any() and myocardium.any()) or bool((ndimage.binary_dilation(rv, EIGHT) & myocardium).any()),
    )


def _has_hole(region: NDArray[np.bool_]) -> bool:
    return bool((ndimage.binary_fill_holes(region) & ~region).any())
