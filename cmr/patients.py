"""Which patient a file belongs to: from a table beside the files, else from the file's name."""

import re
from pathlib import Path

from cmr.errors import DataError
from cmr.text import read_table

PATIENTS = "patients.csv"
_BIDS = re.compile(r"sub-[0-9a-z+]+", re.IGNORECASE)
_NUMBERED = re.compile(r"([a-z]+)[_-](\d+)(?![0-9a-z])", re.IGNORECASE)  # ACDC_001, sub_7, synthetic-00012
_PEOPLE = {"case", "id", "p", "pat", "patient", "pt", "sub", "subj", "subject", "volunteer"}
_PARTS = {"frame", "phase", "slice", "t", "time", "z"}  # a number behind these is no patient's
_DIGITS = 3  # a number as long as those of nnU-Net's cases; a shorter one counts slices
_SHOWN = 3


def patient_of(stem: str) -> str:
    """The patient in a file's name without its ending.

    ``sub-01_ses-1_bold`` is BIDS: ``sub-01``. ``ACDC_001_0000`` is nnU-Net's way: ``ACDC_001``; so is any word with a number of
    three digits or more, and ``patient_7``. Of other names it is what stands before the first ``_`` or ``-``.
    """
    if found := _BIDS.match(stem):
        return found.group()
    if found := _NUMBERED.match(stem):
        word, number = found.groups()
        if word.lower() in _PEOPLE or (len(number) >= _DIGITS and word.lower() not in _PARTS):
            return found.group()
    return re.split(r"[_-]", stem, maxsplit=1)[0] or stem


def patients_of(folder: Path, names: list[str], stems: list[str]) -> tuple[list[str], list[str]]:
    """The patient of each file, and remarks for the user.

    Args:
        names: of the files, as ``patients.csv`` in the folder may list them (columns ``file,patient``).
        stems: the same without endings.

    Raises:
        DataError: ``patients.csv`` can't be read or lacks a file.
    """
    table = folder / PATIENTS
    if table.is_file() or table.is_symlink():
        return _listed(table, names), []
    patients = [patient_of(stem) for stem in stems]
    examples = dict(zip(reversed(patients), reversed(names), strict=True))
    shown = ", ".join(f"'{patient}' of {name}" for patient, name in sorted(examples.items())[:_SHOWN])
    remarks = [f"patients from the file names: {len(examples)} in {len(names)} files ({shown}); {PATIENTS} can say otherwise"]
    alone = sum(patient == stem for patient, stem in zip(patients, stems, strict=True))
    if alone and len(names) > 1:
        remarks.append(
            f"{alone} of {len(names)} files count as a patient each, by their names: if one patient has several of them, "
            f"intervals are too narrow; list them in {PATIENTS}"
        )
    if len(examples) == 1 and len(names) > 1:
        remarks.append(f"all files count as one patient, '{patients[0]}', so there are no intervals")
    return patients, remarks


def _listed(path: Path, names: list[str]) -> list[str]:
    table = read_table(path)
    if not {"file", "patient"} <= set(table.columns):
        raise DataError(f"{path}: columns {', '.join(table.columns)}; expected file, patient")
    known = dict(zip(table["file"], table["patient"], strict=True))
    if lacking := [name for name in names if not known.get(name)]:
        raise DataError(f"{path}: no patient for {len(lacking)} of {len(names)} files (first: {lacking[0]})")
    whose = table.groupby("file")["patient"].nunique()
    if (whose > 1).any():
        raise DataError(f"{path}: {whose.idxmax()} is listed with several patients; expected one")
    return [known[name] for name in names]
