"""Packages in MLflow's artifacts: how they are put there and fetched again, whatever else a store may hold.

Names and sizes are compared with the manifest before anything is fetched, contents after it.
"""

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import Run

from cmr.errors import DataError
from mlops.connection import Tracking, refuse_local_artifacts
from mlops.manifest import MANIFEST, MOST_BYTES, Manifest, check_package, manifest_digest, read_manifest
from mlops.package import MODEL

if TYPE_CHECKING:
    from mlops.registry import Version

_STAMP = f"{MODEL}/registered_model_meta"
_MOST_FILES, _LARGEST_STAMP = 5000, 1000


def package_place(digest: str) -> str:
    """Where a package lies among the artifacts of its run; a run has several packages where figures came later."""
    return f"packages/{digest[:16]}"


def upload_package(tracking: Tracking, run: Run, folder: Path, manifest: Manifest, digest: str) -> None:
    """Bring the package in ``folder``, without its in-house part, into the artifacts of a run, if it is not there."""
    refuse_local_artifacts(tracking, run.info.artifact_uri)
    place, run_id = package_place(digest), str(run.info.run_id)
    # What lies there decides, and not a tag: an upload may have been cut short, and a store may have lost files.
    there = _stored(tracking, run_id, place)
    if any(there.get(name) not in (size, 0) for name, size in _model_files(manifest).items()) or MANIFEST not in there:
        tracking.client.log_artifacts(run_id, str(folder / MODEL), f"{place}/{MODEL}")
        tracking.client.log_artifact(run_id, str(folder / MANIFEST), place)


def is_stored(tracking: Tracking, run_id: str, digest: str) -> bool:
    """Whether a run's artifacts hold manifest and model of a package; their contents are compared when they are fetched."""
    place = package_place(digest)
    found = {one.path for one in tracking.client.list_artifacts(run_id, place)}
    return {f"{place}/{MANIFEST}", f"{place}/{MODEL}"} <= found


def fetch_package(tracking: Tracking, version: "Version", digest: str, folder: Path) -> None:
    """Fetch a package from MLflow into an empty folder, and check it as :func:`download_package` does."""
    # What is there is compared by name and size before it is fetched: a store may hold anything.
    there = _stored(tracking, version.run_id, package_place(digest))
    manifest = _fetch_manifest(tracking, version, digest, there, folder)
    expected = {MANIFEST: 0, **_model_files(manifest)}
    fault = _difference(there, expected)
    if fault is None:
        scratch = folder / "fetched"
        scratch.mkdir()
        found = Path(tracking.client.download_artifacts(version.run_id, f"{package_place(digest)}/{MODEL}", str(scratch)))
        shutil.copytree(found, folder / MODEL, symlinks=True)
        shutil.rmtree(scratch)
        _drop_stamp(folder / _STAMP, version)
        try:
            check_package(folder, digest, MODEL)
            return
        except DataError as error:
            fault = str(error).replace(f"{folder}/", "")
    raise DataError(
        f"{version.name} version {version.number}: its files in MLflow are not those that were registered. {fault} Delete "
        f"{package_place(digest)} in MLflow's artifacts, and register the model anew."
    )


def _difference(there: Mapping[str, int], expected: Mapping[str, int]) -> str | None:
    """The first file that is missing, not listed, or of another size, in a sentence; None where there is none."""
    for name in sorted(set(expected) ^ set(there)):
        if name in expected:
            return f"{name}: missing."
        if name != _STAMP or there[name] > _LARGEST_STAMP:
            return f"{name}: not listed in the package's manifest."
    for name, size in there.items():
        if size and expected.get(name) not in (None, 0, size):
            return f"{name}: changed, it has {size} bytes and not {expected[name]}."
    return None


def _model_files(manifest: Manifest) -> dict[str, int]:
    """The files of a package that MLflow gets, but for the manifest, and their sizes."""
    return {name: size for name, size in manifest.sizes.items() if name.startswith(f"{MODEL}/")}


def _stored(tracking: Tracking, run_id: str, place: str) -> dict[str, int]:
    """Every file below a place of a run's artifacts -> its size, 0 where that is not known.

    Raises:
        DataError: there are more than a package can have.
    """
    found: dict[str, int] = {}
    waiting = [place]
    while waiting:
        for one in tracking.client.list_artifacts(run_id, waiting.pop()):
            if one.is_dir:
                waiting.append(one.path)
            else:
                found[one.path.removeprefix(f"{place}/")] = int(one.file_size or 0)
        if len(found) + len(waiting) > _MOST_FILES:
            raise DataError(f"{place} in MLflow's artifacts holds more than {_MOST_FILES} files, which no package does.")
    return found


def _fetch_manifest(tracking: Tracking, version: "Version", digest: str, there: Mapping[str, int], folder: Path) -> Manifest:
    named = f"{version.name} version {version.number}: its files in MLflow are not those that were registered. {MANIFEST}:"
    if MANIFEST not in there:
        raise DataError(f"{named} missing.")
    if there[MANIFEST] > MOST_BYTES:
        raise DataError(f"{named} changed, it has {there[MANIFEST]} bytes.")
    with tempfile.TemporaryDirectory() as scratch:
        found = tracking.client.download_artifacts(version.run_id, f"{package_place(digest)}/{MANIFEST}", scratch)
        shutil.copyfile(found, folder / MANIFEST)
    if (sha := manifest_digest(folder / MANIFEST)) != digest:
        raise DataError(f"{named} changed: its SHA-256 is {sha[:16]}…, and {digest[:16]}… was registered. Do not use it.")
    return read_manifest(folder / MANIFEST)


def _drop_stamp(path: Path, version: "Version") -> None:
    """Remove the one file that MLflow itself adds to a model, in a local store, when somebody loads it; nothing here reads it.

    A file of that name with anything else in it stays, and is found as one that is not listed.
    """
    if path.is_file() and not path.is_symlink() and path.stat().st_size < 1000:
        name = re.escape(version.name)
        stamp = rf"model_name: {name}\nmodel_version: '?{version.number}'?\n"
        if re.fullmatch(stamp, path.read_text(encoding="utf-8", errors="replace")):
            path.unlink()
