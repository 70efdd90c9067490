"""The paper's convention (Table V): single slices, background included, pixels, what can't be computed left out."""

from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.labels import BACKGROUND, STRUCTURES
from evaluation.utility.case import COLUMNS, score_case

PIXELS = (1.0, 1.0)
CLASS_LABELS = {"background": BACKGROUND, **STRUCTURES}


def score_slices(predicted: NDArray[np.uint8], truth: NDArray[np.uint8], index: pd.DataFrame) -> pd.DataFrame:
    """Scores every class of every labelled slice.

    A class that is missing from one side has Dice and IoU 0 and no HD95 and ASD (NaN, dropped from the means); one missing
    from both has no scores at all.

    Args:
        predicted, truth: (N, H, W) labels 0-3.
        index: N rows with ``subject``, ``phase``, ``slice``, ``labelled``; only labelled slices are scored.

    Returns:
        One row a slice and class, columns :data:`evaluation.utility.case.COLUMNS`; distances in pixels.
    """
    rows = []
    for row in np.flatnonzero(index["labelled"].to_numpy(dtype=bool)):
        place = {"convention": "paper", **{column: index[column].iloc[row] for column in ("subject", "phase", "slice")}}
        for structure, label in CLASS_LABELS.items():
            score = score_case(predicted[row] == label, truth[row] == label, PIXELS)
            rows.append(place | {"structure": structure} | asdict(score))
    return pd.DataFrame(rows, columns=list(COLUMNS))
