"""Exact nearest-neighbour search from images, masks or features to patients, in blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cmr.labels import CLASSES
from evaluation.overlap import pairwise_dice

Distance = Callable[[NDArray, NDArray], NDArray[np.float64]]
# Shares of the norms below which a squared distance from a product has too few digits left, in either precision.
CLOSE = {np.float32: 1 / 64, np.float64: 1e-6}
COLUMNS = 1 << 12  # features multiplied at once, so that sums of float32 stay short; LPIPS has 2 million an image of 128 pixels


@dataclass(frozen=True)
class PatientDistances:
    """Distances of N queries to P patients, each patient represented by its images nearest to the query.

    Patients as the unit let every later question (nearest other patient, another draw, leaving patients out) be answered
    without another search.

    Attributes:
        patients: (P,) sorted names.
        nearest: (P, N) distance to the patient's nearest image.
        second: (P, N) distance to its second nearest image, inf where it has one image only.
        row: (P, N) row of the nearest image in the reference.
    """

    patients: NDArray[np.str_]
    nearest: NDArray[np.float64]
    second: NDArray[np.float64]
    row: NDArray[np.intp]

    def nearest_row(self) -> NDArray[np.intp]:
        """(N,) row of each query's nearest image of all."""
        return self.row[self.nearest.argmin(axis=0), np.arange(self.row.shape[1])]


def patient_distances(
    queries: NDArray, reference: NDArray, subjects: NDArray[np.str_], *, distance: Distance, block: int
) -> PatientDistances:
    """Compares every query with every reference image.

    Beside inputs and result (24·P·N bytes) it needs about 16·block·(COLUMNS + M) bytes, whatever the length of the features:
    50 MB at a block of 512 and 2000 reference images. ``block`` changes no more than the rounding of the result.

    Args:
        queries: (N, H, W) images or (N, D) features; may be a memory map.
        reference: (M, H, W) or (M, D).
        subjects: (M,) patient of each reference image.
        distance: (n, …) and (m, …) to (n, m); one of the functions below.
        block: images compared at once on either side.
    """
    patients, patient = np.unique(subjects, return_inverse=True)
    order = np.argsort(patient, kind="stable")  # each patient's images in one piece
    starts = np.searchsorted(patient[order], np.arange(len(patients) + 1))
    shape = (len(patients), len(queries))
    nearest, second, row = np.empty(shape), np.full(shape, np.inf), np.empty(shape, dtype=np.intp)
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        # Slices, so that a memory map is read piece by piece inside the distance.
        line = np.hstack([distance(queries[rows], reference[at : at + block]) for at in range(0, len(order), block)])[:, order]
        for number, (low, high) in enumerate(pairwise(starts)):
            own = line[:, low:high]
            best = own.argmin(axis=1)
            row[number, rows] = order[low + best]
            nearest[number, rows] = own[np.arange(len(own)), best]
            if high - low > 1:
                second[number, rows] = np.partition(own, 1, axis=1)[:, 1]
    return PatientDistances(patients, nearest, second, row)


def squared_distance(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Squared Euclidean distance of all pairs: (n, …) and (m, …) to (n, m), each to 1e-4 of itself and mostly to 1e-6.

    |a-b|² = |a|² + |b|² - 2·a·b, products in float32. An image of ``first`` that has a near one, where that cancels, is
    multiplied in float64; and where that cancels too, for images that are all but identical, the difference itself is summed,
    so that a copy has the distance 0 and not 1e-8.
    """
    a, b = first.reshape(len(first), -1), second.reshape(len(second), -1)
    squares, norms = _products(a, b, np.arange(len(a)), np.float32)
    close = np.flatnonzero((squares <= CLOSE[np.float32] * norms).any(axis=1))
    if close.size:
        squares[close], norms[close] = _products(a, b, close, np.float64)
    for row, column in np.argwhere(squares[close] <= CLOSE[np.float64] * norms[close]):
        squares[close[row], column] = _squared(a[close[row]], b[column])
    return squares


def _products(a: NDArray, b: NDArray, rows: NDArray[np.intp], kind: type) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """|a|² + |b|² - 2·a·b, and |a|² + |b|², of some rows of ``a`` and all of ``b``, a slice of the features at a time."""
    norms, products = np.zeros((len(rows), len(b))), np.zeros((len(rows), len(b)))
    for start in range(0, a.shape[1], COLUMNS):
        x: NDArray = a[rows, start : start + COLUMNS].astype(kind, copy=False)
        y: NDArray = b[:, start : start + COLUMNS].astype(kind, copy=False)
        norms += np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", y, y)
        products += x @ y.T
    return norms - 2 * products, norms


def image_distance(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Euclidean distance of all pairs; see :func:`squared_distance`."""
    return np.sqrt(squared_distance(first, second))


def paired_squared_distance(first: NDArray, second: NDArray, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Squared Euclidean distance of each ``first[i]`` to ``second[rows[i]]``: (N,)."""
    return np.array([_squared(one, second[row]) for one, row in zip(first, rows, strict=True)])


def mask_distance(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Euclidean distance of one-hot masks, which is the root of twice the number of pixels that differ."""
    pixels = first[0].size if len(first) else 0
    agreeing = np.zeros((len(first), len(second)), dtype=np.float32)  # whole numbers below 2^24: exact
    for label in range(CLASSES):
        a = (first == label).reshape(len(first), -1).astype(np.float32)
        b = (second == label).reshape(len(second), -1).astype(np.float32)
        agreeing += a @ b.T
    return np.sqrt(2 * (pixels - agreeing.astype(np.float64)))


def dice_distance(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """1 - mean Dice over LV, MYO and RV, see :func:`evaluation.overlap.pairwise_dice`."""
    return np.maximum(1 - pairwise_dice(first, second), 0)


def _squared(one: NDArray, other: NDArray) -> float:
    return float(np.sum((one.astype(np.float64) - other) ** 2))
