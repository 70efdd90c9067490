"""Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991).

The ground that a set covers is a ball around each of its images, out to its third nearest neighbour in the same set.
Precision is the share of synthetic images on real ground, recall the share of real images on synthetic ground.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmr.errors import DataError
from evaluation.fidelity.frechet import RowStatistic, check_features
from evaluation.privacy.search import image_distance

NEIGHBOURS = 3  # the authors' choice
BLOCK = 512  # rows compared at once: bounds the temporary memory; the distances kept are N² + N·M numbers


def precision_recall(real: ArrayLike, synthetic: ArrayLike) -> tuple[float, float]:
    """Precision and recall, each 0 to 1; exact.

    Both fall where slices of few patients crowd together, since the balls are small then: read them beside their floor.

    Args:
        real, synthetic: (N, D) and (M, D) features, a row an image.

    Raises:
        DataError: shapes that do not fit, values that are not finite, fewer than 4 images on a side.
    """
    real, synthetic = check_features(real=real, synthetic=synthetic)
    if min(len(real), len(synthetic)) <= NEIGHBOURS:
        raise DataError(
            f"precision and recall: {len(real)} real and {len(synthetic)} synthetic images; "
            f"expected at least {NEIGHBOURS + 1}, each has {NEIGHBOURS} neighbours"
        )
    everything = np.ones(len(real), bool), np.ones(len(synthetic), bool)
    return precision_over_rows(real, synthetic)(*everything), recall_over_rows(real, synthetic)(*everything)


def precision_over_rows(real: ArrayLike, synthetic: ArrayLike) -> RowStatistic:
    """Precision of any rows of two sets, from distances computed once; NaN without synthetic or with fewer than 4 real rows."""
    real, synthetic = check_features(real=real, synthetic=synthetic)
    within, across = _distances(real, real), _distances(real, synthetic)
    np.fill_diagonal(within, np.inf)  # an image is not its own neighbour

    def over(kept_real: NDArray[np.bool_], kept_synthetic: NDArray[np.bool_]) -> float:
        if np.count_nonzero(kept_real) <= NEIGHBOURS or not kept_synthetic.any():
            return float("nan")
        own = within[np.ix_(kept_real, kept_real)]
        own.partition(NEIGHBOURS - 1, axis=1)
        reach = own[:, NEIGHBOURS - 1, None]
        return float((across[np.ix_(kept_real, kept_synthetic)] <= reach).any(axis=0).mean())

    return over


def recall_over_rows(real: ArrayLike, synthetic: ArrayLike) -> RowStatistic:
    """Recall of any rows of two sets: the precision with the sides exchanged."""
    exchanged = precision_over_rows(synthetic, real)
    return lambda kept_real, kept_synthetic: exchanged(kept_synthetic, kept_real)


def _distances(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    distances = np.empty((len(first), len(second)))
    for start in range(0, len(first), BLOCK):
        distances[start : start + BLOCK] = image_distance(first[start : start + BLOCK], second)
    return distances
