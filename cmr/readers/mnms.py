"""The official M&Ms layout (Campello et al. 2021, doi:10.1109/TMI.2021.3090082)."""

from functools import partial
from pathlib import Path

import pandas as pd

from cmr.errors import DataError
from cmr.labels import BACKGROUND, LV, MYO, RV
from cmr.nifti import NiftiFile
from cmr.readers.base import (
    PHASES,
    UNKNOWN,
    Patient,
    Reader,
    find_volume,
    folders_in,
    labelled_frame,
    patients_in_parts,
    whole_number,
)
from cmr.subject import Frame, Subject
from cmr.text import read_table

_PARTS = {"Training/Labeled": "training", "Validation": "validation", "Testing": "testing"}
_UNLABELLED = "Training/Unlabeled"
_SCHEME = (BACKGROUND, LV, MYO, RV)
_CODE = "External code"
_NEEDED = (_CODE, "VendorName", "Centre", *PHASES)
_PATHOLOGY = "Pathology"  # absent from the challenge's first table
_MISSING = {"", "nan", "n/a", "na"}


class MnmsReader(Reader):
    """``Training/Labeled|Validation|Testing/CODE`` with ``CODE_sa.nii.gz`` (or ``.nii``) and
    ``CODE_sa_gt.nii.gz`` (both x, y, z, time).

    The information table in the root, found by its columns and not by its name, says vendor, centre and the ED and ES frame
    of each code, counted from 0. ``Training/Unlabeled`` is counted and not used.
    """

    layout = "M&Ms"
    signature = tuple(f"{part}/*/*_sa.nii*" for part in _PARTS)

    def patients(self) -> list[Patient]:
        found = patients_in_parts(self.root, _PARTS)
        if found:  # read here and not in subject(): a fault of the table concerns every patient
            self._table_path, self._table = _read_table(self.root)
        return found

    def subject(self, patient: Patient) -> Subject:
        row = self._row(patient)
        image, label = (self._volume(patient, *what) for what in (("sa", "cine stack"), ("sa_gt", "mask")))
        indices = tuple((phase, self._frame_index(patient, row, phase)) for phase in PHASES)
        vendor, centre, pathology = (_text(row, column) for column in ("VendorName", "Centre", _PATHOLOGY))
        frames = partial(_read_frames, image, label, indices)
        return Subject(patient.id, self.dataset, patient.part, vendor, centre, pathology, frames)

    def unused(self) -> dict[str, int]:
        unlabelled = len(folders_in(self.root / _UNLABELLED))
        return {_UNLABELLED: unlabelled} if unlabelled else {}

    def _volume(self, patient: Patient, name: str, content: str) -> Path:
        if path := find_volume(patient.path, f"{patient.id}_{name}"):
            return path
        missing = patient.path / f"{patient.id}_{name}.nii.gz"
        raise DataError(f"{missing}: the {content} is missing. Put it there, or remove the patient's folder.")

    def _row(self, patient: Patient) -> "pd.Series[str]":
        rows = self._table[self._table[_CODE] == patient.id].drop_duplicates()
        if len(rows) != 1:
            problem = "is not in" if rows.empty else f"has {len(rows)} different rows in"
            raise DataError(
                f"{patient.path}: the code {patient.id} {problem} the information table {self._table_path.name} (column "
                f"`{_CODE}`, {len(self._table)} rows). Correct the table, or remove the patient's folder."
            )
        return rows.iloc[0]

    def _frame_index(self, patient: Patient, row: "pd.Series[str]", phase: str) -> int:
        index = whole_number(row[phase])
        if index is None or index < 0:
            raise DataError(
                f"{self._table_path}: {patient.id} has {row[phase]!r} as its {phase} frame; a whole number counted from 0 was "
                "expected. Correct the table, or remove the patient's folder."
            )
        return index


def _read_table(root: Path) -> tuple[Path, pd.DataFrame]:
    """The one csv file in the root that has the needed columns, all cells as stripped text.

    Raises:
        DataError: there is none, or more than one.
    """
    tables = {path: _table(path) for path in sorted(root.glob("*.csv")) if not path.name.startswith(".")}
    complete = [path for path, table in tables.items() if set(_NEEDED) <= set(table.columns)]
    if len(complete) == 1:
        return complete[0], tables[complete[0]]
    needed = ", ".join(_NEEDED)
    if complete:
        names = " and ".join(path.name for path in complete)
        raise DataError(
            f"{root}: {names} could each be the information table (columns {needed}). Leave only the right one there."
        )
    if not tables:
        sheets = sorted(path.name for kind in ("xlsx", "xls", "ods") for path in root.glob(f"*.{kind}"))
        hint = f" {sheets[0]} is there: save it as CSV." if sheets else ""
        raise DataError(f"{root}: no csv file is there; the information table with the columns {needed} belongs there.{hint}")
    path = min(tables, key=lambda name: len(set(_NEEDED) - set(tables[name].columns)))
    missing = ", ".join(f"`{column}`" for column in _NEEDED if column not in tables[path].columns)
    raise DataError(
        f"{path}: the information table has no column {missing}; found: {', '.join(tables[path].columns) or 'none'}. "
        "Add the column under this name, or fetch the official table."
    )


def _table(path: Path) -> pd.DataFrame:
    """As read, with the needed columns under their official names whatever the case of their letters."""
    official = {column.lower(): column for column in (*_NEEDED, _PATHOLOGY)}
    return read_table(path).rename(columns=lambda column: official.get(column.lower(), column))


def _text(row: "pd.Series[str]", column: str) -> str:
    value = str(row.get(column, ""))
    return UNKNOWN if value.lower() in _MISSING else value


def _read_frames(image: Path, label: Path, indices: tuple[tuple[str, int], ...]) -> list[Frame]:
    images, labels = NiftiFile.open(image), NiftiFile.open(label)
    return [labelled_frame(phase, images, labels, _SCHEME, index=index) for phase, index in indices]
