"""Synthetic against real images as two crowds, from features of a network (paper, Table IV: FID and KID).

Needs no network itself: features are arrays (N, D), a row an image, of both sets from one network. A metric is one file with
one function that returns a :data:`~evaluation.fidelity.frechet.RowStatistic`, and one line in :data:`UNPAIRED`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmr.errors import DataError
from evaluation.fidelity.frechet import RowStatistic, check_features, draw_patients, frechet_over_rows
from evaluation.fidelity.kernel import kid_over_rows
from evaluation.fidelity.manifold import NEIGHBOURS, precision_over_rows, recall_over_rows
from evaluation.figure import Figure, Figures
from evaluation.images import check_subjects
from evaluation.statistics import IntervalSettings, deal_groups, jackknife, unanimous_interval


@dataclass(frozen=True)
class Unpaired:
    """A metric of two sets of features.

    Attributes:
        over_rows: real and synthetic features to the metric of any rows of them.
        limits: its range.
        images: the fewest images a side that it can be computed of.
    """

    over_rows: Callable[[ArrayLike, ArrayLike], RowStatistic]
    limits: tuple[float, float] = (-np.inf, np.inf)
    images: int = 2


UNPAIRED: dict[str, Unpaired] = {
    "fid": Unpaired(frechet_over_rows, limits=(0, np.inf)),
    "kid": Unpaired(kid_over_rows),
    "precision": Unpaired(precision_over_rows, limits=(0, 1), images=NEIGHBOURS + 1),
    "recall": Unpaired(recall_over_rows, limits=(0, 1), images=NEIGHBOURS + 1),
}
"""On Inception features."""

SEGMENTER: dict[str, Unpaired] = {"frechet_segmenter": Unpaired(frechet_over_rows, limits=(0, np.inf))}
"""On features of the real-trained segmenter (:mod:`evaluation.segmenter_features`)."""


def unpaired_figures(
    real: ArrayLike,
    synthetic: ArrayLike,
    *,
    real_patients: NDArray,
    synthetic_patients: NDArray,
    floor: ArrayLike | None = None,
    floor_patients: NDArray | None = None,
    intervals: IntervalSettings,
    seed: int,
    metrics: Mapping[str, Unpaired] = UNPAIRED,
) -> Figures:
    """All unpaired metrics, and their floor: what other real images score in the place of the synthetic ones.

    All sets are drawn down to the smallest one's number of images, the ``n`` of every figure: FID depends on it, so a floor
    at another one would say nothing. See :func:`~evaluation.fidelity.frechet.draw_patients` for how.

    Args:
        real: (N, D) features of the reference, the test slices.
        synthetic: (M, D) features of the synthetic images.
        real_patients: (N,) patient of each real image.
        synthetic_patients: (M,) the patient whose mask an image was made from; a name of its own for each image from a
            synthetic mask (Full-Syn).
        floor: (L, D) features of real images of other patients, the training slices.
        floor_patients: (L,) their patients.

    Returns:
        ``{METRIC: Figure, ..., "floor": {METRIC: Figure}}`` with METRIC from ``metrics``. Intervals as :func:`compare`'s.

    Raises:
        DataError: arrays that do not fit, values that are not finite, a floor of patients that are in ``real``.
    """
    real, synthetic = check_features(real=real, synthetic=synthetic)
    real_patients = check_subjects(real_patients, len(real), "real")
    synthetic_patients = check_subjects(synthetic_patients, len(synthetic), "synthetic")
    n = min(len(real), len(synthetic))
    against = partial(compare, real, real_patients=real_patients, intervals=intervals, seed=seed, metrics=metrics)
    if floor is None:
        missing = dict.fromkeys(metrics, Figure.missing("no floor: no other real images were given"))
        return {**against(synthetic, other_patients=synthetic_patients, n=n), "floor": missing}
    real, floor = check_features(real=real, floor=floor)
    floor_patients = check_subjects(np.asarray(floor_patients), len(floor), "floor")
    both = np.intersect1d(real_patients, floor_patients)
    if both.size:
        raise DataError(f"patients {both.tolist()} are in the real images and in the floor: give the floor others")
    n = min(n, len(floor))
    return {
        **against(synthetic, other_patients=synthetic_patients, n=n),
        "floor": against(floor, other_patients=floor_patients, n=n),
    }


def compare(
    real: ArrayLike,
    other: ArrayLike,
    *,
    real_patients: NDArray,
    other_patients: NDArray,
    n: int | None = None,
    intervals: IntervalSettings,
    seed: int,
    metrics: Mapping[str, Unpaired] = UNPAIRED,
) -> dict[str, Figure]:
    """Each metric at ``n`` images a side (by default as many as the smaller set has).

    Intervals: delete-a-group jackknife over patients. Where the sets share patients, a patient is left out of both;
    otherwise the two are sampled on their own, and their variances add up. The interval is for the metric at this ``n``: it
    holds no allowance for the bias of FID. With too few images a figure is missing, with one patient it has no interval.

    Raises:
        DataError: arrays that do not fit, or values that are not finite.
    """
    real, other = check_features(real=real, other=other)
    patients = check_subjects(real_patients, len(real), "real"), check_subjects(other_patients, len(other), "other")
    n = min(len(real), len(other)) if n is None else n
    drawn = [draw_patients(names, n, seed) for names in patients]
    real, other = real[drawn[0]], other[drawn[1]]
    real_patients, other_patients = (names[rows] for names, rows in zip(patients, drawn, strict=True))
    shared = np.intersect1d(real_patients, other_patients).size > 0
    strata = [np.concatenate([real_patients, other_patients])] if shared else [real_patients, other_patients]
    groups = deal_groups(strata, seed)
    units = min(np.unique(names).size for names in (real_patients, other_patients)) if n else 0

    def figure(metric: Unpaired) -> Figure:
        if n < metric.images:
            return Figure.missing(f"{n} images a side; needs at least {metric.images}")
        over_rows = metric.over_rows(real, other)
        found = jackknife(
            lambda left_out: over_rows(~np.isin(real_patients, left_out), ~np.isin(other_patients, left_out)),
            groups,
            n=n,
            settings=intervals,
            limits=metric.limits,
        )
        if metric.limits != (0, 1) or found.value not in (0.0, 1.0) or found.ci_low is None or found.ci_low != found.ci_high:
            return found
        return Figure(found.value, *unanimous_interval(found.value, units, intervals), n)

    return {name: figure(metric) for name, metric in metrics.items()}


def missing_figures(reason: str, metrics: Mapping[str, Unpaired] = UNPAIRED) -> Figures:
    """The tree of :func:`unpaired_figures` where there are no features, as when the network's weights can't be had."""
    missing = dict.fromkeys(metrics, Figure.missing(reason))
    return {**missing, "floor": missing}
