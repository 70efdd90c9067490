"""Files that are either whole or not there: every output is written under a temporary name beside its place, then renamed.

The content is on the disk before the rename, and the rename before the next step: what follows a power cut is the old file or
the new one, never an empty one.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from cmr.errors import DataError, DataErrors

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WAITING = 16
_POINTER_BYTES = 2000
_LISTED = 10
_POINTERS = {
    b"/annex/objects/": "`datalad get` (or `git annex get`)",
    b"version https://git-lfs.github.com/": "`git lfs pull`",
}
_NO_FSYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP)


def why_not_here(path: Path) -> str:
    """Why a file's content isn't there although its name is, and what to do; empty where nothing is known against it.

    git-annex, DataLad and git-lfs leave a link or a short text in the place of a file that was not fetched.
    """
    if path.is_symlink() and not path.exists():
        return (
            f"is a link to {os.readlink(path)}, which isn't there. If git-annex or DataLad keeps the file, fetch it with "
            "`datalad get` (or `git annex get`); else put the file there, or remove the link."
        )
    try:
        if not path.is_file() or path.stat().st_size > _POINTER_BYTES:
            return ""
        start = path.read_bytes()
    except OSError:
        return ""  # whoever reads it says so
    for mark, fetch in _POINTERS.items():
        if start.startswith(mark):
            return f"only stands for a file that was not fetched. Fetch it with {fetch}."
    return ""


def refuse_links_to_nowhere(folder: Path) -> None:
    """Stop before hours are spent on a folder that holds links whose content was not fetched.

    DVC takes the hash of the whole folder, so one such link stops the pipeline, whether or not its file is needed.

    Raises:
        DataErrors: the links.
    """
    places = ((Path(where) / name) for where, folders, names in os.walk(folder) for name in (*folders, *names))
    absent = sorted(path for path in places if path.is_symlink() and not path.exists())
    if absent:
        listed = [str(path) for path in absent[:_LISTED]]
        more = [f"... and {len(absent) - _LISTED} more"] if len(absent) > _LISTED else []
        raise DataErrors(
            f"{folder}: {len(absent)} links lead to files that aren't there. Fetch them (`datalad get {folder}`, or `git annex "
            "get`), or remove the links of files that are not needed:",
            [*listed, *more],
        )


@contextmanager
def whole_file(path: Path, *, needed_bytes: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block ends well, delete it if not.

    Args:
        needed_bytes: the size to name in the error if the disk fills up.

    Raises:
        DataError: the disk is full. Whatever was at ``path`` before is untouched.
    """
    # Two processes, or threads, may make the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.writing{path.suffix}")
    with _explain_full_disk(path, needed_bytes):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _to_disk(temporary)
            temporary.replace(path)
            _to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, *, needed_bytes: int | None = None) -> Iterator[Path]:
    """As :func:`whole_file`, for a folder: yield an empty temporary folder that takes the place of ``path`` at the end.

    An existing folder at ``path`` is replaced as a whole, never merged with.

    Raises:
        DataError: the disk is full. Whatever was at ``path`` before is untouched.
    """
    temporary, previous = (path.with_name(f".{path.name}.{state}") for state in ("writing", "previous"))
    with _explain_full_disk(path, needed_bytes):
        _remove(temporary)  # left by a killed run
        _remove(previous)
        try:
            temporary.mkdir(parents=True)
            yield temporary
            inside = [found for found in temporary.rglob("*") if not found.is_symlink()]
            with ThreadPoolExecutor(_WAITING) as pool:  # a file system writes for all who wait at once
                list(pool.map(_to_disk, [*inside, temporary]))
            if path.exists():
                path.rename(previous)
            temporary.rename(path)
            _to_disk(path.parent)
            _remove(previous)
        finally:
            _remove(temporary)


def _to_disk(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on the disk. File systems that cannot do that are left alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a file that its owner made unreadable, or a folder of Windows
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _explain_full_disk(path: Path, needed_bytes: int | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        needed = f"about {needed_bytes / 1e6:.1f} MB are needed there, and " if needed_bytes else ""
        free = shutil.disk_usage(_existing_parent(path)).free
        raise DataError(
            f"{path}: the disk is full: {needed}{free / 1e6:.1f} MB are free. Nothing half-written was left behind. "
            "Free some space (`dvc gc -w` drops cached versions that nothing refers to) and run the command again."
        ) from error


def _existing_parent(path: Path) -> Path:
    return next(folder for folder in path.absolute().parents if folder.exists())


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
