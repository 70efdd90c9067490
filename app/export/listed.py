"""``patients.csv``: whose a file is. Each drawn slice stands for a patient of its own, as in the store."""

import csv
from collections.abc import Iterable
from pathlib import Path

from cmr.patients import PATIENTS


def write_patients(folder: Path, files: Iterable[tuple[str, str]]) -> None:
    """Write the table beside the files: ``(file, patient)`` each."""
    with (folder / PATIENTS).open("w", newline="", encoding="utf-8") as target:
        table = csv.writer(target, lineterminator="\n")
        table.writerow(["file", "patient"])
        table.writerows(files)
