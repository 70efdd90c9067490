"""A generator's images as crowds: those of the test masks and of synthetic masks, beside what real images score in their place.

What a network made of each set goes in, one :class:`Crowd` a set; see :mod:`evaluation.fidelity.unpaired` for the figures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.fidelity.frechet import draw_patients, frechet_against_n, frechet_at_infinity
from evaluation.fidelity.unpaired import UNPAIRED, Unpaired, compare, missing_figures, unpaired_figures
from evaluation.figure import Figure, Figures
from evaluation.statistics import IntervalSettings

FEWEST = 8
"""Images a side below which a curve of FID against their number would have no points."""

_SIZES, _REPEATS = 6, 3


@dataclass(frozen=True)
class Crowd:
    """Images and the patient of each.

    Attributes:
        rows: (N, H, W) images, or (N, D) features of them.
        patients: (N,) names.
    """

    rows: NDArray
    patients: NDArray

    def draw(self, count: int, seed: int) -> "Crowd":
        """At most ``count`` images of whole patients, see :func:`~evaluation.fidelity.frechet.draw_patients`."""
        kept = draw_patients(self.patients, count, seed)
        return Crowd(np.asarray(self.rows[kept]), self.patients[kept])


def crowd_figures(
    test: Crowd,
    train: Crowd,
    others: Mapping[str, Crowd],
    made: Crowd,
    full: Crowd,
    *,
    intervals: IntervalSettings,
    seed: int,
    metrics: Mapping[str, Unpaired] = UNPAIRED,
) -> Figures:
    """The unpaired figures of a generator, all against the same real test images.

    Args:
        test: features of the real test images.
        train: of real images of other patients of the same dataset.
        others: of real images of further datasets, by their names.
        made: of the images of the test masks; their patients are those of the masks.
        full: of the images of synthetic masks, each with a patient's name of its own.

    Returns:
        ``{METRIC, ..., "floor": {METRIC}, "full": {METRIC}, "floor_datasets": {DATASET: {METRIC}}}`` with METRIC from
        ``metrics``: of ``made``, ``train``, ``full`` and each of ``others`` in turn. The first three are at the same number
        of images wherever there are as many of ``full`` as of the others.

    Raises:
        DataError: features that do not fit or are not finite, a patient both in ``test`` and in ``train``.
    """

    def against(other: Crowd, most: int) -> dict[str, Figure]:
        n = min(most, len(other.rows))
        given = {"real_patients": test.patients, "other_patients": other.patients}
        return compare(test.rows, other.rows, **given, n=n, intervals=intervals, seed=seed, metrics=metrics)

    figures = unpaired_figures(
        test.rows,
        made.rows,
        real_patients=test.patients,
        synthetic_patients=made.patients,
        floor=train.rows,
        floor_patients=train.patients,
        intervals=intervals,
        seed=seed,
        metrics=metrics,
    )
    most = min(len(one.rows) for one in (test, made, train))
    figures["full"] = against(full, most)
    figures["floor_datasets"] = {name: against(other, most) for name, other in others.items()}
    return figures


def missing_crowd_figures(reason: str, others: Mapping[str, Any], metrics: Mapping[str, Unpaired] = UNPAIRED) -> Figures:
    """The tree of :func:`crowd_figures` where there are no features."""
    missing = dict.fromkeys(metrics, Figure.missing(reason))
    figures = missing_figures(reason, metrics)
    return {**figures, "full": missing, "floor_datasets": dict.fromkeys(others, missing)}


def against_n(test: Crowd, crowds: Mapping[str, Crowd], seed: int) -> dict[str, Any]:
    """The Fréchet distance of each crowd to the test images at growing numbers of images, for a chart.

    Returns:
        By name: ``n`` images a side and ``frechet``, the mean over draws, lists of one length, and ``at_infinity``, the end of
        the straight line in 1/N through the larger half. A crowd of fewer than :data:`FEWEST` images is left out.
    """
    curves = {}
    for name, crowd in crowds.items():
        most = min(len(test.rows), len(crowd.rows))
        if most < FEWEST:
            continue
        sizes = np.unique(np.linspace(most / _SIZES, most, _SIZES).round().astype(int)).tolist()
        curve = frechet_against_n(
            test.rows,
            crowd.rows,
            first_patients=test.patients,
            second_patients=crowd.patients,
            sizes=[size for size in sizes if size >= 2],
            repeats=_REPEATS,
            seed=seed,
        )
        means = curve.groupby("n")["frechet"].mean()
        upper = curve[curve["n"] >= most / 2]
        curves[name] = {"n": means.index.tolist(), "frechet": means.tolist(), "at_infinity": frechet_at_infinity(upper)}
    return curves
