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
ENVIRONMENT = "DVC_SITE_CACHE_DIR"
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
    open_to_others = (
        stat.S_IMODE(found.st_mode) & 0o777 & ~mode
    )  # the set-group bit, which a shared folder hands on, opens nothing
    return f"has the mode {stat.S_IMODE(found.st_mode):04o}, expected {mode:04o}" if open_to_others else ""


def share_with_group(root: Path) -> None:
    """What this process and those that it starts write is group-writable where the project folder is: people who share a folder
    go on where another has stopped. Keys and DVC's site cache have modes of their own, and a umask that hides files from the
    group is left as it is.

    SQLite gives a new database the mode 0644 whatever the umask, and its other files that of the database: this user's
    databases are opened here.
    """
    if not hasattr(os, "getuid") or not root.stat().st_mode & stat.S_IWGRP:
        return
    umask = os.umask(0o077)  # it can only be read by being set
    os.umask(umask if umask & stat.S_IRGRP else umask & ~stat.S_IWGRP)
    if umask & stat.S_IRGRP:
        return
    for database in (root / "mlflow.db", *root.glob(".syncmri/sweeps/*/optuna.db")):
        if database.is_file() and database.stat().st_uid == os.getuid():
            database.chmod(stat.S_IMODE(database.stat().st_mode) | stat.S_IWGRP)


def keep_private(root: Path) -> None:
    """Make DVC's site cache of the project this user's alone (mode 0700). What others could have written into it is dropped.

    Called before DVC is: a stage, which DVC runs, must use :func:`close_to_others`. A folder that ``DVC_SITE_CACHE_DIR`` names
    is left as it is: `syncmri doctor` examines it.

    Raises:
        DataError: it belongs to somebody else, or is no folder.
    """
    if os.environ.get(ENVIRONMENT):
        return
    folder = root / SITE_CACHE
    if folder.exists() and _written_by_others(folder):
        shutil.rmtree(folder)  # a cache: DVC makes it again
    close_to_others(root)


def close_to_others(root: Path) -> None:
    """As :func:`keep_private`, but leaves the content, which a running DVC is using."""
    if os.environ.get(ENVIRONMENT):
        return
    folder = root / SITE_CACHE
    if folder.is_symlink():
        raise DataError(f"{folder}: is a symbolic link; expected a folder that only you can reach. Remove it")
    for path in (folder, folder / "repo"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if wrong := faults(path, 0o777):
            raise DataError(
                f"{path}: {wrong}; what lies in it could run programs as you. `rm -r` it, and run the command again. Where "
                f"several people use this folder, each sets {ENVIRONMENT} to a folder of their own."
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
