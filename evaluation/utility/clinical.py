"""The clinical convention: whole volumes, LV, MYO and RV, millimetres; a missed structure costs what it must."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.errors import DataError
from cmr.labels import STRUCTURES
from evaluation.utility.case import COLUMNS, CaseScore, score_case


def score_volumes(predicted: NDArray[np.uint8], truth: NDArray[np.uint8], index: pd.DataFrame) -> pd.DataFrame:
    """Scores every structure of every patient and frame as one volume.

    A missed structure, and one found where there is none, has Dice and IoU 0 and, for HD95 and ASD, the diagonal of the volume:
    the worst distance possible, where a metric that left such cases out would improve with every miss.

    Args:
        predicted, truth: (N, H, W) labels 0-3; all slices of each frame, those without labels too.
        index: N rows with ``subject``, ``phase``, ``slice`` (its place in the volume), ``slice_mm``, ``row_mm``, ``column_mm``.

    Returns:
        One row a subject, phase and structure, columns :data:`evaluation.utility.case.COLUMNS`; ``slice`` is -1,
        distances in mm.

    Raises:
        DataError: slices of a volume that are missing or doubled, or a voxel size that changes or is not positive.
    """
    rows = []
    order = index.reset_index(drop=True)
    for (subject, phase), volume in order.groupby(["subject", "phase"], sort=True):
        volume = volume.sort_values("slice")
        spacing = _spacing(volume, f"{subject} {phase}")
        found, there = predicted[volume.index], truth[volume.index]
        diagonal = float(np.linalg.norm(np.array(there.shape) * spacing))
        place = {"convention": "clinical", "subject": subject, "phase": phase, "slice": -1}
        for structure, label in STRUCTURES.items():
            score = _with_penalty(score_case(found == label, there == label, spacing), diagonal)
            rows.append(place | {"structure": structure} | asdict(score))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _with_penalty(score: CaseScore, diagonal: float) -> CaseScore:
    return replace(score, hd95=diagonal, asd=diagonal) if score.outcome in ("missed", "false_find") else score


def _spacing(volume: pd.DataFrame, name: str) -> tuple[float, float, float]:
    numbers = volume["slice"].to_numpy()
    if (np.diff(numbers) != 1).any():
        raise DataError(
            f"{name}: slices {numbers.tolist()}; expected consecutive numbers, each once: a volume is scored whole. "
            "Cut the test slices again"
        )
    sizes = volume[["slice_mm", "row_mm", "column_mm"]].to_numpy(dtype=float)
    if (sizes != sizes[0]).any() or not (sizes[0] > 0).all():
        raise DataError(f"{name}: voxel sizes {np.unique(sizes, axis=0).tolist()} mm; expected one, positive")
    return (float(sizes[0, 0]), float(sizes[0, 1]), float(sizes[0, 2]))
