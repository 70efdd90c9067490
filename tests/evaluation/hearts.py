"""Drawn hearts for the tests of this room."""

import numpy as np

from cmr.labels import LV, MYO, RV


def heart(size=64, lv_radius=8, wall=4, row=None, column=None):
    """A closed ring with its LV, and an RV that touches it from the left."""
    row, column = (size // 2 if place is None else place for place in (row, column))
    y, x = np.mgrid[:size, :size]
    radius = np.hypot(y - row, x - column)
    outer = lv_radius + wall
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[np.hypot((y - row) / 1.2, x - (column - outer)) <= lv_radius] = RV
    mask[radius <= outer] = MYO
    mask[radius <= lv_radius] = LV
    return mask


def hearts(count, seed, size=64):
    """(count, size, size) hearts of varying place and size."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [
            heart(size, rng.uniform(size / 12, size / 7), rng.uniform(3, 5), *rng.uniform(size / 2 - 3, size / 2 + 3, 2))
            for _ in range(count)
        ]
    )
