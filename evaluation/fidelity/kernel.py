"""KID: maximum mean discrepancy of features under a cubic kernel (Bińkowski et al. 2018, arXiv 1801.01401)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmr.errors import DataError
from evaluation.fidelity.frechet import RowStatistic, check_features


def kid(first: ArrayLike, second: ArrayLike) -> float:
    """Unbiased estimate of MMD² with the kernel k(x, y) = (x·y/D + 1)³, from all images.

    The usual KID is the mean of this estimate over random subsets (500 or 1000 images). Each pair of images is as likely to
    be in a subset as any other, so that mean tends to the estimate from all images whatever the size of the subsets, and
    equals it where the subset is the whole set. All images at once leave out the luck of the draw, and need no minimum but 2.

    Unbiased means that two sets of one kind have 0 on average, so *negative values occur* and mean "no difference found".

    Args:
        first, second: (N, D) and (M, D) features, a row an image.

    Raises:
        DataError: shapes that do not fit, values that are not finite, fewer than 2 rows.
    """
    first, second = check_features(first=first, second=second)
    if min(len(first), len(second)) < 2:
        raise DataError(f"KID: {len(first)} and {len(second)} images; expected at least 2 a side")
    return kid_over_rows(first, second)(np.ones(len(first), bool), np.ones(len(second), bool))


def kid_over_rows(first: ArrayLike, second: ArrayLike) -> RowStatistic:
    """:func:`kid` of any rows of two sets, from kernels computed once; NaN with fewer than 2 rows on a side."""
    first, second = check_features(first=first, second=second)
    within_first, within_second, across = _kernel(first, first), _kernel(second, second), _kernel(first, second)
    for within in (within_first, within_second):
        np.fill_diagonal(within, 0)  # an image's likeness to itself is what biases the plain estimate

    def over(kept_first: NDArray[np.bool_], kept_second: NDArray[np.bool_]) -> float:
        n, m = np.count_nonzero(kept_first), np.count_nonzero(kept_second)
        if min(n, m) < 2:
            return float("nan")
        a, b = kept_first.astype(np.float64), kept_second.astype(np.float64)
        own = a @ within_first @ a / (n * (n - 1)) + b @ within_second @ b / (m * (m - 1))
        return float(own - 2 * (a @ across @ b) / (n * m))

    return over


def _kernel(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return (first @ second.T / first.shape[1] + 1) ** 3
