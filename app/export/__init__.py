"""Synthetic sets in the formats of other programs. One format, one small file and one line here."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from cmr.errors import DataError
from cmr.store import SliceStore

# Held as text so that listing the names costs no import.
FORMATS: dict[str, str] = {
    "store": "app.export.store",
    "nifti": "app.export.nifti",
    "nnunet": "app.export.nnunet",
    "png": "app.export.png",
}

Write = Callable[[Path, SliceStore], str]
"""Writes a set with images into an existing, empty folder; says in a few lines of Markdown what lies where."""


def writer(name: str) -> Write:
    """The format of that name; :class:`DataError` where there is none."""
    if name not in FORMATS:
        raise DataError(f"There is no format called '{name}'. Known: {', '.join(FORMATS)}.")
    write: Write = import_module(FORMATS[name]).write
    return write
