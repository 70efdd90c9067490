"""Folders and files that nobody else on the machine may write, or read: DVC's site cache, keys, tokens.

DVC reads its site cache with pickle (CVE-2025-69872 of diskcache, unmended), so whoever writes there runs programs as whoever
calls ``dvc``. By default it is a folder that every user may write. `.dvc/config` names ``.dvc_site_cache`` instead, relative to
the folder that ``dvc`` is called in, which is the project's; git creates it with the checkout, so that DVC, which would make it
open to all, finds it there.
"""

import os
import shutil
import stat
from pathlib import Path

from cmr.errors import DataError

SITE_CACHE = ".dvc_site_cache"
_WRITE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def faults(path: Path, mode: int) -> str:
    """What is wrong with a folder or file that should be the caller's, with at most ``mode``; "" if nothing is."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return "does not exist"
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link"
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        return f"belongs to the user with the number {found.st_uid}, not to you"
    open_to_others = stat.S_IMODE(found.st_mode) & ~mode
    return f"has the mode {stat.S_IMODE(found.st_mode):04o}, expected {mode:04o}" if open_to_others else ""


def keep_private(root: Path) -> None:
    """Make DVC's site cache of the project this user's alone (mode 0700). What others could have written into it is dropped.

    Called before DVC is: a stage, which DVC runs, must use :func:`close_to_others`.

    Raises:
        DataError: it belongs to somebody else, or is no folder.
    """
    folder = root / SITE_CACHE
    if folder.exists() and _written_by_others(folder):
        shutil.rmtree(folder)  # a cache: DVC makes it again
    close_to_others(root)


def close_to_others(root: Path) -> None:
    """As :func:`keep_private`, but leaves the content, which a running DVC is using."""
    folder = root / SITE_CACHE
    if folder.is_symlink():
        raise DataError(f"{folder}: is a symbolic link; expected a folder that only you can reach. Remove it")
    for path in (folder, folder / "repo"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if wrong := faults(path, 0o777):
            raise DataError(
                f"{path}: {wrong}; what lies in it could run programs as you. `rm -r` it, and run the command again"
            )
        path.chmod(0o700)


def _written_by_others(folder: Path) -> bool:
    """Whether another user can have put something into the folder."""
    inside = [folder, *folder.rglob("*")]
    mine = os.getuid() if hasattr(os, "getuid") else folder.lstat().st_uid
    return any(
        found.st_uid != mine or (not stat.S_ISLNK(found.st_mode) and found.st_mode & _WRITE_BY_OTHERS and _reachable(folder))
        for found in (path.lstat() for path in inside)
    )


def _reachable(folder: Path) -> bool:
    return bool(folder.lstat().st_mode & (stat.S_IXGRP | stat.S_IXOTH))
