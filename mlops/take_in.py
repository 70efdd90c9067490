"""Raw data taken into the project, so that DVC keeps its versions and can push them to a remote."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tqdm import tqdm

from cmr.errors import DataError
from cmr.files import whole_folder
from mlops.private import keep_private


def take_in_raw(folder: Path, root: Path, name: str) -> None:
    """Bring ``folder`` to ``data/raw/NAME`` as a whole (an older version there is replaced) and run ``dvc add`` on it.

    Files are hard-linked on the same filesystem, else copied. DVC replaces the links by copies of its own, so the original
    files are neither changed nor locked.

    Raises:
        DataError: the disk is full, or DVC refuses.
    """
    folder = folder.expanduser().resolve()
    place = root / "data" / "raw" / name
    if folder != place.resolve():
        _copy(folder, place)
    keep_private(root)
    command = [sys.executable, "-m", "dvc", "add", "--quiet", str(place.relative_to(root))]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise DataError(f"{place}: `dvc add data/raw/{name}` failed: {done.stderr.strip()}")


def _copy(folder: Path, place: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with whole_folder(place, needed_bytes=sum(path.stat().st_size for path in files)) as temporary:
        for source in tqdm(files, desc=f"taking in {place.name}", unit="file", disable=None):
            target = temporary / source.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(source, target)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another filesystem, or one without links
        shutil.copyfile(source, target)
