"""One structure of one case, scored; both conventions are made of these."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.overlap import dice, iou
from evaluation.utility.surface import boundary_distances

METRICS = ("dice", "iou", "hd95", "asd")
COLUMNS = ("convention", "subject", "phase", "slice", "structure", *METRICS, "outcome")


@dataclass(frozen=True)
class CaseScore:
    """Scores of one structure.

    Attributes:
        dice, iou: 0 to 1.
        hd95, asd: in the unit of the spacing; NaN unless both masks show the structure.
        outcome: ``ok`` (in both), ``missed`` (in the truth only), ``false_find`` (in the prediction only), ``both_empty``
            (all four scores are NaN).
    """

    dice: float
    iou: float
    hd95: float
    asd: float
    outcome: str


def score_case(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: tuple[float, ...]) -> CaseScore:
    """Scores a predicted structure against the truth: boolean arrays of one shape, ``spacing`` along each axis."""
    found, there = bool(predicted.any()), bool(truth.any())
    outcome = {(True, True): "ok", (False, True): "missed", (True, False): "false_find"}.get((found, there), "both_empty")
    surface = boundary_distances(predicted, truth, spacing) if outcome == "ok" else (float("nan"), float("nan"))
    return CaseScore(dice(predicted, truth), iou(predicted, truth), *surface, outcome)
