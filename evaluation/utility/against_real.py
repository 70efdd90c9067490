"""A segmenter beside the one that was trained on real slices, patient by patient (clinical Dice)."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.errors import DataError
from evaluation.figure import Figure, Figures
from evaluation.statistics import IntervalSettings, bootstrap_compared

COMPARISONS = ("dice_vs_real", "dice_ratio_to_real")
_CASE = ["subject", "phase", "structure"]


def against_real(scores: pd.DataFrame, real: pd.DataFrame, intervals: IntervalSettings, seed: int) -> Figures:
    """Clinical Dice of a training less that of the real training, and divided by it.

    They are those of the two means that :func:`evaluation.utility.scores.summarise` gives; patients are resampled with the
    scores of both segmenters.

    Args:
        scores, real: what :func:`evaluation.utility.scores.score` returns of two segmenters on the same test set.

    Returns:
        ``dice_vs_real`` (-1 to 1, below 0: worse than real) and ``dice_ratio_to_real`` (1: as good as real).

    Raises:
        DataError: other cases in the one than in the other.
    """
    clinical = [table[table["convention"] == "clinical"] for table in (scores, real)]
    cases = [set(table[_CASE].itertuples(index=False, name=None)) for table in clinical]
    if cases[0] != cases[1]:
        raise DataError(
            f"utility: {len(cases[0])} cases of one segmenter beside {len(cases[1])} of another, {len(cases[0] ^ cases[1])} of "
            "them not in both; score both on the same test set"
        )
    ours, theirs = (_known_dice(table) for table in clinical)
    found = (bootstrap_compared(ours, theirs, compare, intervals, seed) for compare in (np.subtract, np.divide))
    return dict(zip(COMPARISONS, found, strict=True))


def missing_comparisons(reason: str) -> Figures:
    """The figures of :func:`against_real` where there is nothing to compare with."""
    return dict.fromkeys(COMPARISONS, Figure.missing(reason))


def _known_dice(scores: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    dice = scores["dice"].to_numpy(dtype=float)
    known = np.isfinite(dice)
    return dice[known], scores["subject"].to_numpy(dtype=str)[known]
