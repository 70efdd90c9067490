"""The clinical convention: whole volumes, LV, MYO and RV, millimetres; a missed structure costs what it must."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.errors import DataError
from cmr.labels import STRUCTURES
from evaluation.utility.case import COLUMNS, CaseScore, score_case

_SINGLE = "single slices; a volume needs slices in order and their spacing: a 3D NIfTI file, or a store of whole scans"


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


def whole_volumes(index: pd.DataFrame) -> tuple[NDArray[np.bool_], list[str], str]:
    """Which rows belong to volumes that can be scored; a sentence for each other one; why there is none at all, else empty."""
    needed = ("subject", "phase", "slice", "slice_mm", "row_mm", "column_mm")
    whole, left_out = np.zeros(len(index), bool), []
    if not set(needed) <= set(index.columns):
        return whole, [], _SINGLE
    index = index.reset_index(drop=True)
    found = list(index.groupby(["subject", "phase"], sort=True))
    reasons = [_fault(volume.sort_values("slice")) for _, volume in found]
    for ((subject, phase), volume), reason in zip(found, reasons, strict=True):
        if reason:
            left_out.append(f"{subject} {phase}" if phase != subject else str(phase))
        else:
            whole[volume.index] = True
    if not whole.any():
        single = index[["slice_mm", "row_mm", "column_mm"]].isna().any(axis=None)
        return whole, [], _SINGLE if single else f"{left_out[0]}: {next(filter(None, reasons))}"
    notes = [f"{name}: not scored as a volume: {reason}" for name, reason in zip(left_out, filter(None, reasons), strict=True)]
    if notes:
        notes.insert(0, f"clinical: {len(found) - len(notes)} of {len(found)} volumes are scored; the others by slice only")
    return whole, notes, ""


def _with_penalty(score: CaseScore, diagonal: float) -> CaseScore:
    return replace(score, hd95=diagonal, asd=diagonal) if score.outcome in ("missed", "false_find") else score


def _fault(volume: pd.DataFrame) -> str:
    """Why rows of an index, sorted by ``slice``, can't be scored as one volume; empty where they can."""
    numbers = volume["slice"].to_numpy()
    if (np.diff(numbers) != 1).any():
        return f"slices {numbers.tolist()}; expected consecutive numbers, each once: a volume is scored whole"
    sizes = volume[["slice_mm", "row_mm", "column_mm"]].to_numpy(dtype=float)
    if np.isnan(sizes).any():
        return "a single slice, or slices whose spacing is not known; expected a 3D volume"
    if (sizes != sizes[0]).any() or not (sizes[0] > 0).all():
        return f"voxel sizes {np.unique(sizes, axis=0).tolist()} mm; expected one, positive"
    return ""


def _spacing(volume: pd.DataFrame, name: str) -> tuple[float, float, float]:
    if reason := _fault(volume):
        raise DataError(f"{name}: {reason}. Cut the test slices again")
    slice_mm, row_mm, column_mm = volume[["slice_mm", "row_mm", "column_mm"]].to_numpy(dtype=float)[0]
    return float(slice_mm), float(row_mm), float(column_mm)
