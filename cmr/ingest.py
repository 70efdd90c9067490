"""Takes stock of a dataset: checks every scan, finds scans stored twice, and writes down what there is."""

import hashlib
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from cmr.copies import same_scans, sample
from cmr.errors import DataError, DataErrors
from cmr.readers.base import Reader
from cmr.subject import Frame, Subject

PARTS = ("training", "validation", "testing")
"""Official parts, in the order in which a copy of a scan is kept: training before testing (design §3)."""

_IN_PLANE_MM = (0.5, 3.0)  # cine short-axis MR; ACDC has 0.7-1.9 mm
_SPACING_MM = (2.0, 15.0)  # between slices; ACDC has 5-10 mm

_COLUMNS = (
    *("dataset", "subject", "part", "vendor", "centre", "pathology", "phase"),
    *("slices", "rows", "columns", "slice_mm", "row_mm", "column_mm"),
    *("labels", "labelled_slices", "image_sha256", "duplicate_of"),
)


@dataclass(frozen=True)
class Ingested:
    """What ingest found.

    Attributes:
        manifest: one row a labelled frame, by subject, ED before ES. Columns: dataset, subject, part, vendor, centre,
            pathology, phase; slices, rows, columns (pixels); slice_mm, row_mm, column_mm (voxel size); labels (structures
            present, ``"1,2,3"``); labelled_slices (number); image_sha256; duplicate_of (the subject kept in this one's
            place, else ``""``). Use the rows with ``duplicate_of == ""``.
        report: JSON-ready counts: ``found`` and ``subjects`` (used) by part, ``frames`` (used), ``unused``, ``skipped``
            ``[{"subject", "reason"}]``, ``excluded`` ``[[subject, another name, ...]]``, ``duplicates`` ``[[kept, dropped]]``,
            ``vendors``, ``centres``, ``pathologies`` (used subjects each) and ``warnings``.
    """

    manifest: pd.DataFrame
    report: dict[str, Any]


def ingest(reader: Reader, *, skip_bad: bool, excluded: Collection[str] = ()) -> Ingested:
    """Read every labelled frame once, check it, and describe the dataset.

    Args:
        skip_bad: leave out the subjects with a fault, and report them, instead of stopping.
        excluded: subjects who withdrew their consent. They are left out of everything, and so is whoever shares a frame with
            one of them: the same patient under another name.

    Raises:
        DataErrors: subjects with a fault, all at once; with ``skip_bad`` only if no subject is left. An id in two parts.
        DataError: a fault of the dataset as a whole.
    """
    subjects = reader.subjects()
    rows: list[dict[str, Any]] = []
    samples: list[NDArray[np.float32]] = []
    notes: list[str] = []
    skipped: list[dict[str, str]] = []
    # threads: the time goes into decompression and hashing, which let go of the interpreter lock
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = pool.map(_examine, subjects)
        for subject, outcome in tqdm(
            zip(subjects, outcomes, strict=True), f"ingest {reader.dataset}", len(subjects), unit="scan"
        ):
            if isinstance(outcome, DataError):
                if subject.id in excluded:
                    continue
                skipped.append({"subject": subject.id, "reason": str(outcome)})
            else:
                for row, small, odd in outcome:
                    rows.append(row)
                    samples.append(small)
                    notes += [f"{row['subject']} {row['phase']}: {note}" for note in odd]
    if skipped and (not skip_bad or not rows):
        raise DataErrors(_summary(reader, skipped, len(subjects), skip_bad), [fault["reason"] for fault in skipped])
    shapes = [(row["slices"], row["rows"], row["columns"]) for row in rows]
    listed = pd.DataFrame(rows, columns=list(_COLUMNS)).assign(scan=same_scans(shapes, samples))
    manifest, left_out = _without(listed, excluded)
    if manifest.empty:
        raise DataError(f"{reader.root}: every subject of {reader.dataset} is excluded (data.excluded); none is left to use.")
    kept_for = _duplicates(manifest)
    manifest["duplicate_of"] = manifest["subject"].map(kept_for).fillna("").astype(str)
    report = _report(reader, manifest, kept_for, skipped) | {"excluded": left_out}
    report["warnings"] += notes
    absent = sorted(set(excluded) - {subject.id for subject in subjects})
    report["warnings"] += [f"{subject}: excluded (data.excluded), and not among the raw data" for subject in absent]
    return Ingested(manifest.drop(columns="scan"), report)


def image_digest(image: NDArray[np.float32]) -> str:
    """SHA-256 of the decoded pixels and their shape: equal for the same scan whatever its file type, header or labels.

    Args:
        image: (slices, rows, columns).
    """
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image, dtype="<f4").data)
    return digest.hexdigest()


def _examine(subject: Subject) -> list[tuple[dict[str, Any], NDArray[np.float32], tuple[str, ...]]] | DataError:
    """The subject's manifest rows with sampled pixels and remarks for each, or its fault."""
    try:
        return [(_row(subject, frame), sample(frame.image), frame.notes) for frame in subject.frames()]
    except DataError as fault:
        return fault


def _row(subject: Subject, frame: Frame) -> dict[str, Any]:
    values = (subject.dataset, subject.id, subject.part, subject.vendor, subject.centre, subject.pathology, frame.phase)
    structures = ",".join(str(label) for label in np.unique(frame.label) if label)
    labelled = int(frame.label.any(axis=(1, 2)).sum())
    measured = (*frame.image.shape, *frame.voxel_mm, structures, labelled, image_digest(frame.image), "")
    return dict(zip(_COLUMNS, values + measured, strict=True))


def _without(manifest: pd.DataFrame, excluded: Collection[str]) -> tuple[pd.DataFrame, list[list[str]]]:
    """The rows of everybody else, and of each patient who was left out the names found, that of ``excluded`` among them."""
    left_out = set()
    for subject in excluded:
        frames = manifest.loc[manifest["subject"] == subject, "scan"]
        left_out.add(tuple(sorted({subject, *manifest.loc[manifest["scan"].isin(frames), "subject"]})))
    names = {name for patient in left_out for name in patient}
    return manifest[~manifest["subject"].isin(names)].reset_index(drop=True), sorted(map(list, left_out))


def _summary(reader: Reader, skipped: list[dict[str, str]], subjects: int, skip_bad: bool) -> str:
    start = f"{reader.root}: {len(skipped)} of {subjects} subjects of {reader.dataset} can't be used."
    if skip_bad or len(skipped) == subjects:
        return f"{start} None is left:"
    return f"{start} Mend them, or leave them out with data.skip_bad (`--skip-bad`):"


def _scan_of_each_subject(manifest: pd.DataFrame) -> dict[str, tuple[int, ...]]:
    """Images of each subject, sorted, in the order in which copies are kept."""
    order = manifest.assign(rank=manifest["part"].map(PARTS.index)).sort_values(["rank", "subject"])
    return {str(name): tuple(sorted(frames)) for name, frames in order.groupby("subject", sort=False)["scan"]}


def _duplicates(manifest: pd.DataFrame) -> dict[str, str]:
    """Dropped subject -> subject kept, where all images are the same."""
    first: dict[tuple[int, ...], str] = {}
    kept = {subject: first.setdefault(scan, subject) for subject, scan in _scan_of_each_subject(manifest).items()}
    return {subject: keeper for subject, keeper in kept.items() if keeper != subject}


def _report(reader: Reader, manifest: pd.DataFrame, kept_for: dict[str, str], skipped: list[dict[str, str]]) -> dict[str, Any]:
    used = manifest[manifest["duplicate_of"] == ""]
    subjects = used.drop_duplicates("subject")
    return {
        "dataset": reader.dataset,
        "layout": reader.layout,
        "found": _counts(manifest.drop_duplicates("subject")["part"], PARTS),
        "subjects": _counts(subjects["part"], PARTS),
        "frames": len(used),
        "unused": reader.unused(),
        "skipped": skipped,
        "duplicates": sorted([keeper, dropped] for dropped, keeper in kept_for.items()),
        "vendors": _counts(subjects["vendor"]),
        "centres": _counts(subjects["centre"]),
        "pathologies": _counts(subjects["pathology"]),
        "warnings": [*_part_warnings(subjects), *_voxel_warnings(used), *_shared_frame_warnings(used)],
    }


def _counts(values: "pd.Series[str]", names: tuple[str, ...] | None = None) -> dict[str, int]:
    counted = values.value_counts()
    return {str(name): int(counted.get(name, 0)) for name in names or sorted(counted.index)}


def _part_warnings(subjects: pd.DataFrame) -> list[str]:
    parts = set(subjects["part"])
    return [f"no {part} patients: there will be no {part} figures" for part in ("training", "testing") if part not in parts]


def _voxel_warnings(used: pd.DataFrame) -> list[str]:
    in_plane = used["row_mm"].between(*_IN_PLANE_MM) & used["column_mm"].between(*_IN_PLANE_MM)
    odd = used[~(in_plane & used["slice_mm"].between(*_SPACING_MM))]
    expected = "expected {:g}-{:g} mm between slices, {:g}-{:g} mm in plane".format(*_SPACING_MM, *_IN_PLANE_MM)
    warnings = [
        f"{row.subject} {row.phase}: unusual voxel size {row.slice_mm:g} x {row.row_mm:g} x {row.column_mm:g} mm; {expected}"
        for row in odd.itertuples()
    ]
    grid = used.groupby("subject")[["slices", "rows", "columns", "slice_mm", "row_mm", "column_mm"]].nunique()
    return warnings + [f"{subject}: ED and ES differ in shape or voxel size" for subject in grid[(grid > 1).any(axis=1)].index]


def _shared_frame_warnings(used: pd.DataFrame) -> list[str]:
    """A frame that two used subjects share: the same scan, but with another phase labelled, is no full duplicate.

    ED and ES of one subject are reported only if they are equal to the bit: a heart that hardly moves makes nearly equal ones.
    """
    found = [rows for _, rows in used.groupby("scan", sort=False) if rows["subject"].nunique() > 1]
    found += [rows for _, rows in used.groupby(["subject", "image_sha256"], sort=False) if len(rows) > 1]
    return [f"the same image: {' and '.join(rows['subject'] + ' ' + rows['phase'])}" for rows in found]
