"""Fréchet distance between two sets of features: FID on Inception features (Heusel et al. 2017, arXiv 1706.08500)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmr.errors import DataError
from evaluation.images import check_subjects

if TYPE_CHECKING:
    import pandas as pd

RowStatistic = Callable[[NDArray[np.bool_], NDArray[np.bool_]], float]
"""A figure of the rows kept (boolean, (N,) and (M,)) of two sets; NaN where too few are left. What a jackknife asks for."""


def frechet_distance(first: ArrayLike, second: ArrayLike) -> float:
    """|μ₁-μ₂|² + Tr(Σ₁ + Σ₂ - 2·(Σ₁Σ₂)^½) with the sample covariances (divisor N-1), in float64.

    0 for equal means and covariances, no upper end. Biased upwards by about 1/N: two halves of one set are far apart where
    they are small, so compare at one N only, see :func:`frechet_against_n`.

    Args:
        first, second: (N, D) and (M, D) features, a row an image.

    Raises:
        DataError: shapes that do not fit, values that are not finite, fewer than 2 rows.
    """
    first, second = check_features(first=first, second=second)
    if min(len(first), len(second)) < 2:
        raise DataError(f"Fréchet distance: {len(first)} and {len(second)} images; a covariance needs at least 2")
    return _distance(first, second)


def frechet_over_rows(first: ArrayLike, second: ArrayLike) -> RowStatistic:
    """:func:`frechet_distance` of any rows of two sets; NaN with fewer than 2 rows on a side."""
    first, second = check_features(first=first, second=second)
    return lambda kept_first, kept_second: _distance(first[kept_first], second[kept_second])


def frechet_against_n(
    first: ArrayLike,
    second: ArrayLike,
    *,
    first_patients: NDArray,
    second_patients: NDArray,
    sizes: Sequence[int],
    repeats: int,
    seed: int,
) -> "pd.DataFrame":
    """The distance at growing numbers of images, which shows how much of it is the bias of a small sample.

    Every repeat draws anew (:func:`draw_patients`), on both sides alike, so that a set and the images made from its masks
    keep the same patients.

    Args:
        first, second: (N, D) and (M, D) features.
        first_patients, second_patients: (N,) and (M,) the patient of each row.
        sizes: numbers of images, each from 2 to the smaller of N and M.

    Returns:
        One row a draw: ``n`` images a side, ``repeat`` and ``frechet``.

    Raises:
        DataError: as :func:`frechet_distance`; a size out of range; no size or repeat.
    """
    import pandas as pd  # the distance itself, which a bare machine computes, does without

    first, second = check_features(first=first, second=second)
    patients = check_subjects(first_patients, len(first), "first"), check_subjects(second_patients, len(second), "second")
    most = min(len(first), len(second))
    if repeats < 1 or not len(sizes) or min(sizes) < 2 or max(sizes) > most:
        raise DataError(f"Fréchet distance against N: sizes {list(sizes)}, repeats {repeats}; expected sizes of 2 to {most}")
    rows = []
    for n in sizes:
        for repeat in range(repeats):
            drawn = [draw_patients(names, n, seed + repeat) for names in patients]
            rows.append((n, repeat, _distance(first[drawn[0]], second[drawn[1]])))
    return pd.DataFrame(rows, columns=["n", "repeat", "frechet"])


def frechet_at_infinity(curve: "pd.DataFrame") -> float:
    """The distance at infinitely many images: the straight line in 1/N through :func:`frechet_against_n`'s curve, at 1/N = 0.

    After Chong and Forsyth 2020 (FID∞, arXiv 1911.07023). The bias is linear in 1/N only where N is well above the number of
    dimensions in which the features vary; with fewer images the curve is flatter and what it ends at is still too high. So
    give it the upper half of the sizes only, and take it as an upper end: of samples of one Gaussian in 2048 dimensions with
    variances falling as i^-1.4, at N up to 1000, 36 % of the bias is left; with i^-2, none.

    Raises:
        DataError: fewer than two different N.
    """
    if curve["n"].nunique() < 2:
        raise DataError("Fréchet distance at infinity: the curve has fewer than 2 different numbers of images")
    return float(np.polyfit(1 / curve["n"], curve["frechet"], 1)[1])


def draw_patients(patients: NDArray, count: int, seed: int) -> NDArray[np.intp]:
    """``count`` rows of whole patients in random order, random rows of the last one; sorted, all rows if there are no more.

    Whole patients, since two sets of as many images from as many patients are equally varied, and so equally biased.

    Args:
        patients: (N,) the patient of each row. The same patients are drawn from two sets that hold the same ones.
    """
    rng = np.random.default_rng(seed)
    names, of_row = np.unique(patients, return_inverse=True)
    turn = rng.permutation(names.size)[of_row]
    return np.sort(np.lexsort((rng.random(of_row.size), turn))[:count])


def check_features(**sets: ArrayLike) -> list[NDArray[np.float64]]:
    """The sets, called by their keywords in errors, as float64.

    Raises:
        DataError: not (N, D), another D than the first set, or values that are not finite.
    """
    checked: list[NDArray[np.float64]] = []
    for name, features in sets.items():
        values = np.asarray(features, dtype=np.float64)
        if values.ndim != 2 or not values.shape[1]:
            raise DataError(f"{name} features: shape {values.shape}; expected (images, features)")
        if checked and values.shape[1] != checked[0].shape[1]:
            raise DataError(
                f"{name} features: {values.shape[1]} an image and {checked[0].shape[1]} for {next(iter(sets))}; "
                "expected both from one network"
            )
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if bad.size:
            raise DataError(f"{name} features: {bad.size} rows hold values that are not finite (first: row {bad[0]})")
        checked.append(values)
    return checked


def _distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if min(len(first), len(second)) < 2:
        return float("nan")
    shift = first.mean(axis=0) - second.mean(axis=0)
    a, b = ((features - features.mean(axis=0)) / np.sqrt(len(features) - 1) for features in (first, second))
    # With Σ₁ = aᵀa and Σ₂ = bᵀb, the eigenvalues of Σ₁Σ₂ other than 0 are those of (abᵀ)(abᵀ)ᵀ. So the trace of the root is
    # the sum of the singular values of abᵀ, a matrix no larger than the images: no D × D root, no complex rounding.
    root_trace = np.linalg.svd(_compact(a) @ _compact(b).T, compute_uv=False).sum()
    spread = np.sum(a * a) + np.sum(b * b) - 2 * root_trace
    return float(shift @ shift + max(spread, 0.0))  # negative by rounding alone


def _compact(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix of at most D rows with the same rowsᵀ·rows."""
    return np.asarray(np.linalg.qr(rows, mode="r")) if rows.shape[0] > rows.shape[1] else rows
