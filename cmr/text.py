"""Text files and tables as people's programs save them: any usual encoding, line end and separator."""

import csv
from io import StringIO
from pathlib import Path

import pandas as pd

from cmr.errors import DataError
from cmr.files import why_not_here

_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SEPARATORS = ",;\t|"


def read_text(path: Path) -> str:
    """The text of a file, with ``\\n`` at each line's end.

    It is read as its byte order mark says; without one as UTF-8, and what is not UTF-8 as Windows-1252, which old Windows
    programs write.

    Raises:
        DataError: the file isn't there, can't be read, or is no text.
    """
    if reason := why_not_here(path):
        raise DataError(f"{path}: {reason}")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or error}). Check its permissions and its disk.") from error
    encoding = next((encoding for mark, encoding in _MARKS if raw.startswith(mark)), None) or _unmarked(raw)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: can't be read as text ({error}). Save it as text in UTF-8, or fetch it again.") from error
    if "\0" in text:
        raise DataError(f"{path}: can't be read as text: it holds zero bytes. Save it as text in UTF-8, or fetch it again.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_table(path: Path) -> pd.DataFrame:
    """A table whose first line names its columns, separated by comma, semicolon, tab or bar; all cells are stripped text.

    Returns:
        No rows and no columns for an empty file.

    Raises:
        DataError: as :func:`read_text`; lines that are no table.
    """
    text = read_text(path)
    first, _, rest = text.partition("\n")
    separator = ""
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:  # a hint to Excel, which Excel's export keeps
        separator, text = first.strip()[4], rest
    try:
        table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False, sep=separator or _separator(text))
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (pd.errors.ParserError, ValueError) as error:
        raise DataError(f"{path}: can't be read as a table ({error}). Save it as CSV.") from error
    table.columns = table.columns.str.strip()
    return table.apply(lambda column: column.str.strip())


def _unmarked(raw: bytes) -> str:
    for encoding, zeros in (("utf-16-le", raw[1::2]), ("utf-16-be", raw[::2])):  # of Latin letters, every other byte is zero
        if zeros.count(0) > len(raw) // 4:
            return encoding
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _separator(text: str) -> str:
    """The one that makes the most of the first line."""
    head = text.lstrip("\n").partition("\n")[0]
    return max(_SEPARATORS, key=lambda separator: len(next(csv.reader([head], delimiter=separator), [])))
