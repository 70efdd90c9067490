"""Intervals and tests that respect patients: slices of one heart are not independent, patients are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmr.errors import DataError
from evaluation.figure import Figure

JACKKNIFE_GROUPS = 20  # leaving out more groups narrows the interval's own noise little and costs a recomputation each
ONE_PATIENT = "no interval: it needs at least 2 patients"


@dataclass(frozen=True)
class IntervalSettings:
    """How uncertainty is computed.

    Attributes:
        bootstrap: resamples of the patients.
        permutations: relabellings of the patients in a permutation test.
        confidence: of the intervals, e.g. 0.95.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    bootstrap: int
    permutations: int
    confidence: float

    def __post_init__(self) -> None:
        if self.bootstrap < 1 or self.permutations < 1 or not 0 < self.confidence < 1:
            raise DataError(
                f"evaluation: bootstrap={self.bootstrap}, permutations={self.permutations}, confidence={self.confidence}; "
                "the first two must be at least 1, confidence between 0 and 1"
            )


def bootstrap_mean(values: ArrayLike, patients: ArrayLike, settings: IntervalSettings, seed: int) -> Figure:
    """Mean of ``values`` with a percentile interval from resampling whole patients.

    The percentiles are taken a little further out than confidence says, as for a t interval with (patients - 1) degrees of
    freedom: the plain percentile interval is too narrow for a few patients (Hesterberg 2015, "expanded percentile",
    doi:10.1080/00031305.2015.1089789). One patient gives the mean without an interval.

    Args:
        values: (N,) finite numbers.
        patients: (N,) the patient of each value.

    Raises:
        DataError: a value is not finite or the lengths differ.
    """
    return bootstrap_ratio(values, np.ones(np.shape(values)), patients, settings, seed)


def bootstrap_ratio(
    numerators: ArrayLike, denominators: ArrayLike, patients: ArrayLike, settings: IntervalSettings, seed: int
) -> Figure:
    """Ratio of two means over the same observations, which are resampled together; the interval is :func:`bootstrap_mean`'s.

    Args:
        numerators, denominators: (N,) finite numbers, the latter not negative.
        patients: (N,) the patient of each pair.

    Raises:
        DataError: a value is not finite or the lengths differ.
    """
    values, patients = _checked(numerators, patients)
    weights, _ = _checked(denominators, patients)
    if values.size == 0:
        return Figure.missing("no observations")
    if not weights.sum():
        return Figure.missing("a ratio to 0")
    ratio = float(values.sum() / weights.sum())
    above, below = (_per_patient(part, patients) for part in (values, weights))
    n = above.size
    if n < 2:
        return Figure(ratio, n=values.size, reason=ONE_PATIENT)
    drawn = _draws(n, settings, seed)
    if not (drawn @ below).all():
        return Figure(ratio, n=values.size, reason="no interval: a ratio to 0 for some draws of the patients")
    return Figure(ratio, *_expanded_percentiles((drawn @ above) / (drawn @ below), n, settings), values.size)


def bootstrap_compared(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    compare: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    settings: IntervalSettings,
    seed: int,
) -> Figure:
    """Difference, or ratio, of the means of two sets of values of the same patients, such as two segmenters' scores.

    A patient is drawn with all that it has on both sides, so that what makes it hard for both cancels. The interval is
    :func:`bootstrap_mean`'s.

    Args:
        first, second: values and their patients, (N,) each; the two may have other numbers of values a patient.
        compare: of two means, or of as many pairs of means; not finite where it is not defined.

    Raises:
        DataError: a value is not finite or lengths differ.
    """
    sides = [_checked(*first), _checked(*second)]
    patients = np.unique(np.concatenate([names for _, names in sides]))
    places = [(values, np.searchsorted(patients, names)) for values, names in sides]
    sums = [np.bincount(place, values, patients.size) for values, place in places]
    counts = [np.bincount(place, minlength=patients.size) for _, place in places]
    n = min(values.size for values, _ in sides)
    if n == 0:
        return Figure.missing("no observations")
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(compare(*(above.sum() / below.sum() for above, below in zip(sums, counts, strict=True))))
        if not np.isfinite(value):
            return Figure.missing("not defined: a ratio to 0")
        if patients.size < 2:
            return Figure(value, n=n, reason=ONE_PATIENT)
        drawn = _draws(patients.size, settings, seed)
        resampled = compare(*((drawn @ above) / (drawn @ below) for above, below in zip(sums, counts, strict=True)))
    if not np.isfinite(resampled).all():
        return Figure(value, n=n, reason="no interval: not defined for some draws of the patients")
    return Figure(value, *_expanded_percentiles(resampled, patients.size, settings), n)


def bootstrap_share(hits: ArrayLike, patients: ArrayLike, settings: IntervalSettings, seed: int) -> Figure:
    """Like :func:`bootstrap_mean` for yes/no observations; where all agree, the interval is :func:`unanimous_interval`."""
    figure = bootstrap_mean(np.asarray(hits, dtype=float), patients, settings, seed)
    if figure.ci_low is None or figure.value not in (0.0, 1.0):
        return figure
    low, high = unanimous_interval(figure.value, np.unique(np.asarray(patients)).size, settings)
    return Figure(figure.value, low, high, figure.n)


def unanimous_interval(share: float, patients: int, settings: IntervalSettings) -> tuple[float, float]:
    """Exact binomial (Clopper-Pearson) interval of a share of 0 or 1 over ``patients`` independent patients.

    Resampling would give a width of zero: "no copy among 8 patients" would look as certain as "no copy among 8000".
    """
    far_end = ((1 - settings.confidence) / 2) ** (1 / patients)
    return (0.0, 1 - far_end) if share == 0 else (far_end, 1.0)


def deal_groups(strata: Sequence[ArrayLike], seed: int) -> list[list[NDArray]]:
    """Deals the patients of each stratum (say training, then hold-out) at random into groups to leave out.

    Returns:
        For each stratum at most 20 groups of near-equal size. A patient in several strata counts in the first; a stratum
        without patients of its own is dropped.
    """
    rng = np.random.default_rng(seed)
    dealt: list[list[NDArray]] = []
    seen: set = set()
    for stratum in strata:
        patients = np.array([patient for patient in np.unique(np.asarray(stratum)) if patient not in seen])
        seen.update(patients.tolist())
        if patients.size:
            shuffled, count = rng.permutation(patients), min(JACKKNIFE_GROUPS, patients.size)
            dealt.append([shuffled[group::count] for group in range(count)])
    return dealt


def jackknife(
    statistic: Callable[[NDArray], float],
    strata: Sequence[Sequence[NDArray]],
    *,
    n: int,
    settings: IntervalSettings,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> Figure:
    """Value and delete-a-group jackknife interval of a statistic that duplicated patients (a bootstrap) would distort.

    Strata are sampled independently, so their variances add up; degrees of freedom after Satterthwaite.

    Args:
        statistic: computes the figure without the given patients; with an empty array, the figure itself. NaN where it is
            not defined.
        strata: groups of patients, as :func:`deal_groups` returns them.
        n: observations, for the figure.
        limits: the range of the statistic; the interval is cut to it.
    """
    value = float(statistic(np.asarray(strata[0][0])[:0])) if strata else np.nan
    if not np.isfinite(value):
        return Figure.missing("not defined for these patients")
    if any(len(groups) < 2 for groups in strata):
        return Figure(value, n=n, reason=ONE_PATIENT)
    left_out = [np.array([statistic(group) for group in groups], dtype=float) for groups in strata]
    if not all(np.isfinite(values).all() for values in left_out):
        return Figure(value, n=n, reason="no interval: the figure is not defined when some of the patients are left out")
    variances = np.array([_group_variance(value, *pair) for pair in zip(left_out, strata, strict=True)])
    total = variances.sum()
    if total == 0:
        return Figure(value, value, value, n)
    from scipy import special  # of use where there are intervals only: figures without them need no scipy

    freedom = total**2 / np.sum(variances**2 / [len(groups) - 1 for groups in strata])
    reach = special.stdtrit(freedom, (1 + settings.confidence) / 2) * np.sqrt(total)
    return Figure(value, float(max(value - reach, limits[0])), float(min(value + reach, limits[1])), n)


def _group_variance(value: float, left_out: NDArray[np.float64], groups: Sequence[NDArray]) -> float:
    """Delete-m_j jackknife variance of Busing, Meijer and van der Leeden 1999, doi:10.1023/A:1008800423698.

    Unlike the plain one it allows for groups of unequal size.
    """
    sizes = np.array([len(group) for group in groups], dtype=float)
    shares = sizes.sum() / sizes
    pseudo = shares * value - (shares - 1) * left_out
    centre = len(groups) * value - np.sum((1 - 1 / shares) * left_out)
    return float(np.mean((pseudo - centre) ** 2 / (shares - 1)))


def ks_d(a: ArrayLike, b: ArrayLike) -> float:
    """Two-sample Kolmogorov-Smirnov statistic: the largest distance between the distribution functions, 0 to 1."""
    return float(_ks(a, b).statistic)


def ks_p_value(a: ArrayLike, b: ArrayLike) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test with every observation taken as independent, as the paper does."""
    return float(_ks(a, b).pvalue)


def _ks(a: ArrayLike, b: ArrayLike) -> Any:
    from scipy.stats import ks_2samp  # more than a second, which most stages can do without

    return ks_2samp(np.asarray(a), np.asarray(b))


def permutation_p_value(
    a: ArrayLike, a_patients: ArrayLike, b: ArrayLike, b_patients: ArrayLike, settings: IntervalSettings, seed: int
) -> float | None:
    """p-value of the Kolmogorov-Smirnov statistic when whole patients change sides; None if a side has fewer than 2 patients.

    Patients of ``a`` and ``b`` are different people even under the same name. The p-value is (1 + hits) / (1 + permutations).
    """
    a, a_patients = _checked(a, a_patients)
    b, b_patients = _checked(b, b_patients)
    first, second = np.unique(a_patients, return_inverse=True), np.unique(b_patients, return_inverse=True)
    in_a, in_b = first[0].size, second[0].size
    if in_a < 2 or in_b < 2:
        return None
    pooled = np.concatenate([a, b])
    order = np.argsort(pooled, kind="stable")
    patient = np.concatenate([first[1], in_a + second[1]])[order]
    step_ends = np.append(np.flatnonzero(np.diff(pooled[order])), pooled.size - 1)  # ties step together
    rng = np.random.default_rng(seed)

    def distance(side: NDArray[np.bool_]) -> float:
        cumulative = np.cumsum(side[patient])[step_ends]
        total = cumulative[-1]
        return float(np.abs(cumulative / total - (step_ends + 1 - cumulative) / (pooled.size - total)).max())

    sides = np.arange(in_a + in_b) < in_a
    observed = distance(sides)
    hits = sum(distance(rng.permutation(sides)) >= observed - 1e-12 for _ in range(settings.permutations))
    return (1 + hits) / (1 + settings.permutations)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjustment of a family of p-values (Holm 1979, Scand. J. Statist. 6:65-70), in the given order."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    result = np.empty_like(p)
    result[order] = np.minimum(adjusted, 1)
    return result


def _draws(patients: int, settings: IntervalSettings, seed: int) -> NDArray[np.int64]:
    """How often each patient is drawn, (B, P): the resampled sums are then one matrix product."""
    return np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=settings.bootstrap)


def _expanded_percentiles(resampled: NDArray[np.float64], patients: int, settings: IntervalSettings) -> tuple[float, float]:
    from scipy import special

    reach = np.sqrt(patients / (patients - 1)) * special.stdtrit(patients - 1, (1 - settings.confidence) / 2)
    tail = special.ndtr(reach)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def _checked(values: ArrayLike, patients: ArrayLike) -> tuple[NDArray[np.float64], NDArray]:
    values, patients = np.asarray(values, dtype=float), np.asarray(patients)
    if values.shape != patients.shape or values.ndim != 1:
        raise DataError(f"{values.shape} values for {patients.shape} patients: expected one patient for each value")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise DataError(f"value {bad[0]} (patient {patients[bad[0]]}) is {values[bad[0]]}: expected finite numbers")
    return values, patients


def _per_patient(values: NDArray[np.float64], patients: NDArray) -> NDArray[np.float64]:
    """Sum of the values of each patient."""
    return np.bincount(np.unique(patients, return_inverse=True)[1], weights=values).astype(float)
