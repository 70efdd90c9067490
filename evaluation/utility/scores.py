"""Scores of a segmenter on a test set in both conventions, and the figures made of them."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.errors import DataError
from evaluation.figure import Figure, Figures
from evaluation.images import check_masks, check_pairs
from evaluation.statistics import IntervalSettings, bootstrap_mean
from evaluation.utility.case import METRICS
from evaluation.utility.clinical import score_volumes
from evaluation.utility.paper import score_slices

CONVENTIONS = ("clinical", "paper")
OUTCOMES = {"missed": "misses", "false_find": "false_finds", "both_empty": "both_empty"}


def score(predicted: NDArray[np.uint8], truth: NDArray[np.uint8], index: pd.DataFrame) -> pd.DataFrame:
    """Per-case scores in both conventions, one under the other, told apart by the column ``convention``.

    Args:
        predicted, truth: (N, H, W) labels 0-3, the whole test set of one dataset with all slices of each frame.
        index: the slice store's index: N rows with ``subject``, ``phase``, ``slice``, ``slice_mm``, ``row_mm``, ``column_mm``,
            ``labelled``.

    Returns:
        Columns :data:`evaluation.utility.case.COLUMNS`; see :func:`score_volumes` and :func:`score_slices`.

    Raises:
        DataError: shapes, labels, or an index that do not fit.
    """
    predicted, truth = check_masks(predicted, "predicted"), check_masks(truth, "test")
    check_pairs(predicted, truth, "predicted and true masks")
    if len(index) != len(truth):
        raise DataError(f"utility: {len(index)} index rows for {len(truth)} masks; expected one each")
    return pd.concat([score_volumes(predicted, truth, index), score_slices(predicted, truth, index)], ignore_index=True)


def summarise(scores: pd.DataFrame, intervals: IntervalSettings, seed: int) -> Figures:
    """Means with intervals over patients.

    Args:
        scores: what :func:`score` returns, of one test set.

    Returns:
        ``{clinical, paper}.{dice, iou, hd95, asd}`` over all structures (in the paper's convention with the background),
        ``{clinical, paper}.STRUCTURE.{dice, iou, hd95, asd}``, and the counts ``misses``, ``false_finds``, ``both_empty`` and
        ``dropped`` (cases without a distance that the means of HD95 and ASD leave out: none in the clinical convention but
        the both-empty ones).
    """
    return {convention: _figures(scores.loc[scores["convention"] == convention], intervals, seed) for convention in CONVENTIONS}


def sd_of_seeds(scores: pd.DataFrame) -> Figure:
    """How far the mean clinical Dice scatters over trainings that differ in their seed alone: its standard deviation.

    Args:
        scores: as :func:`summarise`'s, of several trainings, told apart by the column ``seed``.
    """
    means = scores.loc[scores["convention"] == "clinical"].groupby("seed")["dice"].mean().dropna()
    if len(means) < 2:
        return Figure.missing("one training: utility.more_seeds repeats it with other seeds")
    return Figure(float(means.std(ddof=1)), n=len(means))


def _figures(scores: pd.DataFrame, intervals: IntervalSettings, seed: int) -> Figures:
    figures: Figures = _means(scores, intervals, seed)
    for structure, rows in scores.groupby("structure", sort=False):
        figures[str(structure)] = _means(rows, intervals, seed)
    counts = {name: int((scores["outcome"] == outcome).sum()) for outcome, name in OUTCOMES.items()}
    counts["dropped"] = int((~np.isfinite(scores["hd95"].to_numpy(dtype=float))).sum())
    return figures | {name: Figure(float(count), n=len(scores)) for name, count in counts.items()}


def _means(scores: pd.DataFrame, intervals: IntervalSettings, seed: int) -> Figures:
    figures: Figures = {}
    for metric in METRICS:
        values = scores[metric].to_numpy(dtype=float)
        finite = np.isfinite(values)
        figures[metric] = (
            bootstrap_mean(values[finite], scores["subject"].to_numpy(dtype=str)[finite], intervals, seed)
            if finite.any()
            else Figure.missing("no case has this score")
        )
    return figures
