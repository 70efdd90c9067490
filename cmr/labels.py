"""The label scheme used everywhere inside the platform. Readers map to it; nothing else may renumber labels."""

import numpy as np
from numpy.typing import NDArray

BACKGROUND, LV, MYO, RV = 0, 1, 2, 3
CLASSES = 4
STRUCTURES = {"LV": LV, "MYO": MYO, "RV": RV}
_ALMOST = 1e-3  # what a header's scaling, or a float's rounding, does to a whole number


def whole_labels(values: NDArray[np.generic]) -> tuple[NDArray[np.uint8], list[str]]:
    """The stored labels as whole numbers, and the values, written out, that are none of 0 to 3.

    A value within 0.001 of a whole number is that number: programs that store labels as scaled integers or as floats read 1
    back as 0.9999999998.
    """
    found = np.unique(values)
    with np.errstate(invalid="ignore"):
        near = np.rint(found)
        known = (np.abs(found - near) <= _ALMOST) & (near >= 0) & (near < CLASSES)
    if not known.all():
        return np.zeros(values.shape, np.uint8), [f"{value:.12g}" for value in found[~known]]
    if values.dtype.kind == "f":
        values = np.rint(values)
    return np.ascontiguousarray(values, dtype=np.uint8), []
