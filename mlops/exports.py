"""The ledger of what was handed out: one line for each answer, download or data set, written before it leaves.

It is a file of JSON lines in the in-house store, ``exports/HOST.jsonl``: a server that can only read MLflow keeps it too.
"""

import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cmr.errors import DataError
from mlops.approvals.keys import person
from mlops.house import house_folder

_LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Export:
    """One line of the ledger.

    Attributes:
        versions: (model, number) of each version that had a part in it.
        about: ``when``, ``who``, ``what`` it is, ``count`` of pictures, ``format``, where it went (``out``), and whatever else
            is known.
    """

    versions: tuple[tuple[str, int], ...]
    about: Mapping[str, Any]


def note_export(root: Path, used: Iterable[tuple[str, int]], about: Mapping[str, Any]) -> None:
    """Write down what is about to be handed out; when this returns, the line is on the disk.

    Args:
        used: (model, number) of each version that had a part in it.
        about: ``what`` it is, ``count`` of pictures, ``format``, where it goes (``out``), and whose ``masks`` it was drawn for
            where that is known.

    Raises:
        DataError: it can't be written; nothing may be handed out then.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"when": now, "who": person(), "versions": [[model, number] for model, number in used], **about}
    folder = house_folder(root) / "exports"
    path = folder / f"{_host()}.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(path.with_suffix(".lock"), timeout=_LOCK_SECONDS), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except (OSError, Timeout) as error:
        raise DataError(
            f"{path}: what goes out can't be written down ({error}), so nothing is handed out. Make the folder writable, "
            "or set SYNCMRI_INHOUSE."
        ) from error


def exports(root: Path) -> Iterator[Export]:
    """Everything that was handed out, file by file; a line that is broken counts for all versions, as far as it is readable."""
    for path in sorted((house_folder(root) / "exports").glob("*.jsonl")):
        for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            try:
                line = json.loads(text)
                versions = tuple((str(model), int(version)) for model, version in line.pop("versions"))
            except (ValueError, TypeError, KeyError, AttributeError):
                yield Export((), {"what": f"a broken line {number} of {path.name}"})
                continue
            yield Export(versions, line)


def _host() -> str:
    """The machine's name, as a part of a file name."""
    return "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in socket.gethostname()) or "host"
