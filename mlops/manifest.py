"""The manifest of a package: every file with its SHA-256, and what an approval must know of the package.

The digest of the manifest stands for the whole package. A folder agrees with its manifest if it holds exactly the listed files,
each with the listed content: a file that is missing, changed or not listed refuses, and so does a link.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cmr.errors import DataError

MANIFEST = "manifest.json"
MOST_BYTES = 4 << 20  # of a manifest


@dataclass(frozen=True)
class Manifest:
    """What a package is.

    Attributes:
        model: ``ddpm``, ``ldm``, ``fm``, ``masks``, ...
        run_key: identifies the training.
        size: S, rows and columns of a picture.
        pixel_mm: distance of its pixels.
        train_on, licences: datasets that it was trained on, and their licences.
        data: path of a slice store -> DVC's hash of it, where DVC knows it.
        summary: the package in a sentence or two.
        files: path below the package -> SHA-256.
        sizes: the same paths -> bytes.
    """

    model: str
    run_key: str
    size: int
    pixel_mm: float
    train_on: tuple[str, ...]
    licences: tuple[str, ...]
    data: dict[str, str]
    summary: str
    files: dict[str, str]
    sizes: dict[str, int]


def write_manifest(package: Path, about: Mapping[str, object], parts: tuple[str, ...]) -> None:
    """Write ``manifest.json`` into a package of the folders ``parts``.

    Args:
        about: the fields of :class:`Manifest` but ``files`` and ``sizes``.
    """
    files = {name: file_digest(package / name) for name in sorted(_files(package, parts))}
    sizes = {name: (package / name).stat().st_size for name in files}
    manifest = TypeAdapter(Manifest).validate_python({**about, "files": files, "sizes": sizes})
    text = json.dumps(asdict(manifest), indent=1, sort_keys=True, ensure_ascii=False)
    (package / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; :class:`DataError` where it is missing or not one."""
    try:
        return TypeAdapter(Manifest).validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; `syncmri run` packages the model.") from error
    except (OSError, ValidationError) as error:
        raise DataError(f"{path}: not readable as a package's manifest; package the model again with `syncmri run`.") from error


def manifest_digest(path: Path) -> str:
    """SHA-256 of a manifest's bytes: the digest of the package; :class:`DataError` where there is no manifest."""
    try:
        return file_digest(path)
    except OSError as error:
        raise DataError(f"{path}: missing or not readable ({error.strerror}); `syncmri run` packages the model.") from error


def check_package(folder: Path, digest: str, part: str) -> Manifest:
    """The manifest of the package in ``folder``, after its files below ``part`` were compared with it.

    Args:
        digest: the digest that the manifest must have.
        part: ``model`` or ``inhouse``.

    Raises:
        DataError: names the first file that was changed, is missing, or is not listed.
    """
    path = folder / MANIFEST
    if (found := manifest_digest(path)) != digest:
        raise DataError(f"{path}: changed: its SHA-256 is {found[:16]}…, and {digest[:16]}… was approved. Do not use it.")
    manifest = read_manifest(path)
    check_files(folder / part, {name: sha for name, sha in manifest.files.items() if name.startswith(f"{part}/")}, part)
    return manifest


def check_files(folder: Path, expected: Mapping[str, str], part: str) -> None:
    """Compare the files below ``folder`` with their digests by path, ``PART/...``; :class:`DataError` names the first fault."""
    found = {f"{part}/{name}" for name in _below(folder)}
    for name in sorted(found | set(expected)):
        path = folder / name.removeprefix(f"{part}/")
        if path.is_symlink():
            raise DataError(f"{path}: a link; a package holds files only. Do not use it.")
        if name not in expected:
            raise DataError(f"{path}: not listed in the package's manifest. Somebody added it; do not use the package.")
        if name not in found:
            raise DataError(f"{path}: missing, though the package's manifest lists it. Do not use the package.")
        if file_digest(path) != expected[name]:
            raise DataError(f"{path}: changed: its content is not the one that was packaged. Do not use it.")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(package: Path, parts: tuple[str, ...]) -> Iterator[str]:
    for part in parts:
        yield from (f"{part}/{name}" for name in _below(package / part))


def _below(folder: Path) -> Iterator[str]:
    """Paths of everything below a folder that is no folder, links included."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix()
