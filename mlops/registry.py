"""MLflow's model registry: the versions of each model, as they are made from packages and fetched again.

A version points to artifacts of its network's run. They are uploaded whole before the version becomes visible; the version is
found again by the digest of its package, so that registering twice, or after a kill at any moment, gives one version.

Tags and aliases in MLflow are for its pages: whoever can write there can change them. What may be used is decided by signed
statements (:mod:`mlops.approvals`), and files are used only if they agree with the digest that a statement names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

from cmr.errors import DataError
from cmr.files import whole_folder
from mlops.card import purpose
from mlops.connection import Tracking
from mlops.gate import MASKS
from mlops.house import INHOUSE, inhouse_files, keep, patients_of
from mlops.manifest import MANIFEST, Manifest, check_files, check_package, manifest_digest, read_manifest
from mlops.package import MODEL, PACKAGES
from mlops.package_store import fetch_package, is_stored, package_place, upload_package
from mlops.records import read_network
from mlops.sync import sync_network
from models.registry import GENERATORS

MODELS: tuple[str, ...] = (MASKS, *GENERATORS)
"""Everything that is registered: the mask model, and each generator."""
CANDIDATE, APPROVED = "candidate", "approved"
"""Aliases: the newest version; the one that the gate, or a person, has approved."""
DIGEST = "syncmri.package"
_HEX = re.compile(r"[0-9a-f]{64}")
_LOCK_SECONDS = 600.0  # an upload takes its time


@dataclass(frozen=True)
class Version:
    """One version of a registered model.

    Attributes:
        model, name: ``ddpm`` and ``syncmri-ddpm``.
        run_id: MLflow's run of the training.
        tags: ``syncmri.package`` (digest), ``.run_key``, ``.size`` (pixels), ``.licences`` and ``.train_on`` (comma-separated),
            ``.revision`` (git commit, or empty), and whatever promotion adds. Anybody who can write to MLflow can change them.
        aliases: ``candidate``, ``approved`` or none.
    """

    model: str
    name: str
    number: int
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    created_ms: int

    @property
    def digest(self) -> str | None:
        """The digest of its package by its tag; None where the tag is missing or holds something else."""
        found = self.tags.get(DIGEST, "")
        return found if _HEX.fullmatch(found) else None


def registered_name(model: str) -> str:
    """``syncmri-ddpm`` for ``ddpm``."""
    return f"syncmri-{model}"


def versions(tracking: Tracking, model: str) -> list[Version]:
    """All versions of a model, the newest first; none where it was never registered."""
    known = _registered(tracking, model)
    if known is None:
        return []
    found, token = [], None
    while True:
        page = tracking.client.search_model_versions(f"name = '{known.name}'", page_token=token)
        found += [_version(model, known, version) for version in page]
        token = page.token
        if not token:
            return sorted(found, key=lambda version: -version.number)


def version(tracking: Tracking, model: str, number: int) -> Version:
    """One version; :class:`DataError` names those that there are."""
    found = versions(tracking, model)
    for one in found:
        if one.number == number:
            return one
    there = ", ".join(str(one.number) for one in found) or "none; `syncmri register` makes one"
    raise DataError(f"{registered_name(model)} has no version {number}; there are: {there}.")


def approved(tracking: Tracking, model: str) -> Version | None:
    """The version with the alias ``approved``, or None."""
    return next((one for one in versions(tracking, model) if APPROVED in one.aliases), None)


def packaged(root: Path) -> list[str]:
    """The models that have a package in the project, in the order of :data:`MODELS`."""
    return [model for model in MODELS if (root / PACKAGES / model / MANIFEST).is_file()]


def register(tracking: Tracking, model: str) -> Version:
    """Make a version of the package of ``model``, as the candidate; if there is one of this very package, return that.

    Raises:
        DataError: there is no package, or it was made from another training than the one in ``runs/``.
    """
    root = tracking.root.absolute()
    manifest, digest = read_package(root, model)
    (root / ".syncmri").mkdir(exist_ok=True)
    with FileLock(root / ".syncmri" / "register.lock", timeout=_LOCK_SECONDS):
        keep(root, digest, root / PACKAGES / model / INHOUSE)
        found = _of_digest(tracking, model, digest)
        # Nothing, where it is uploaded: a version's artifacts may be lost.
        run_id = _upload(tracking, manifest, digest, found.run_id if found else None)
        if found is None:
            _create(tracking, manifest, digest, run_id)
            found = _of_digest(tracking, model, digest)
        assert found is not None
        newest = versions(tracking, model)[0]
        if CANDIDATE not in newest.aliases:  # also where somebody was stopped before it
            tracking.client.set_registered_model_alias(newest.name, CANDIDATE, str(newest.number))
        return version(tracking, model, found.number)


def repair(tracking: Tracking, model: str) -> list[str]:
    """Upload again the files that versions of ``model`` have lost in MLflow, from the copies on this machine.

    Returns:
        A sentence for each version that had lost its files: what was done, or what is to be done.
    """
    told = []
    for one in versions(tracking, model):
        digest = one.digest
        run = _run_of(tracking, one)
        if digest is None or (run is not None and is_stored(tracking, one.run_id, digest)):
            continue
        copy = cached_package(tracking.root, digest)
        # Anybody who can write to MLflow may name a digest and a run: only runs of this project's experiment get files.
        if run is not None and run.info.experiment_id == tracking.experiment and copy.is_dir():
            upload_package(tracking, run, copy, check_package(copy, digest, MODEL), digest)
            told.append(f"{one.name} version {one.number} had lost its files in MLflow: they are there again.")
            continue
        same = next((other for other in versions(tracking, model) if other.digest == digest and other != one), None)
        way_out = f"Version {same.number} is the same package" if same else "No copy of them is on this machine"
        way_out += f": `syncmri promote {model}` approves it anew." if same and APPROVED in one.aliases else "."
        told.append(f"{one.name} version {one.number} cannot be used: its files in MLflow are gone. {way_out}")
    return told


def read_package(root: Path, model: str) -> tuple[Manifest, str]:
    """Manifest and digest of the project's package of ``model``; :class:`DataError` where there is none or it is damaged."""
    folder = root / PACKAGES / model
    digest = manifest_digest(folder / MANIFEST)
    manifest = read_manifest(folder / MANIFEST)
    for part in (MODEL, INHOUSE):
        check_package(folder, digest, part)
    return manifest, digest


def download_package(tracking: Tracking, version: Version, digest: str) -> tuple[Path, Manifest]:
    """The version's package on this machine, without its in-house part, and its manifest.

    It is fetched once. Each call compares every file with the manifest, and the manifest with ``digest``.

    Args:
        digest: the digest that a statement approves, or that is to be judged.

    Raises:
        DataError: a file is not the one that was packaged; it is named.
    """
    folder = cached_package(tracking.root, digest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock"), timeout=_LOCK_SECONDS):
        if not folder.is_dir():
            with whole_folder(folder) as temporary:
                fetch_package(tracking, version, digest, temporary)
        return folder, check_package(folder, digest, MODEL)


def cached_package(root: Path, digest: str) -> Path:
    """Where a fetched package is kept on this machine; it need not be there."""
    return root.absolute() / ".syncmri" / "registry" / digest


def inhouse_part(tracking: Tracking, digest: str, manifest: Manifest) -> Path:
    """The folder of the in-house part of a package, checked against its manifest.

    Only a package that was made in this house has one, encrypted with the house's key; another one can't be approved or loaded.

    Raises:
        DataError: it is not on this machine, or a file is not the one that was packaged.
    """
    folder = inhouse_files(tracking.root, digest)
    check_files(folder, {name: sha for name, sha in manifest.files.items() if name.startswith(f"{INHOUSE}/")}, INHOUSE)
    return folder


def patients_behind(tracking: Tracking, digest: str) -> dict[str, list[str]]:
    """DATASET/PATIENT by split (``train``, ``val``) of everybody whom a version was trained, or its checkpoint chosen, on.

    Raises:
        DataError: the in-house part of the package is not on this machine, or does not open.
    """
    return patients_of(inhouse_files(tracking.root, digest))


def _registered(tracking: Tracking, model: str) -> RegisteredModel | None:
    try:
        return tracking.client.get_registered_model(registered_name(model))
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return None
        raise


def _version(model: str, known: RegisteredModel, found: ModelVersion) -> Version:
    number = int(found.version)
    aliases = tuple(sorted(alias for alias, at in known.aliases.items() if int(at) == number))
    return Version(model, known.name, number, found.run_id or "", dict(found.tags), aliases, found.creation_timestamp)


def _of_digest(tracking: Tracking, model: str, digest: str) -> Version | None:
    """The oldest version of that package whose run is there: two machines that registered at one moment agree on it."""
    same = [one for one in reversed(versions(tracking, model)) if one.tags.get(DIGEST) == digest]
    return next((one for one in same if _run_of(tracking, one) is not None), None)


def _run_of(tracking: Tracking, version: Version) -> Run | None:
    """The run that holds the files of a version; None where it was deleted for good."""
    try:
        return tracking.client.get_run(version.run_id)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return None
        raise


def _upload(tracking: Tracking, manifest: Manifest, digest: str, run_id: str | None) -> str:
    """Bring the package, without its in-house part, into the artifacts of ``run_id``, where a version of it has them, or of its
    network's run; returns the id."""
    root, model = tracking.root.absolute(), manifest.model
    run = tracking.client.get_run(run_id) if run_id else None
    if run is None or run.info.experiment_id != tracking.experiment:  # anybody may name a run; only ours gets files
        run = tracking.find(manifest.run_key)
    if run is None:
        if read_network(root, model)["run_key"] != manifest.run_key:
            raise DataError(
                f"{root / PACKAGES / model}: packaged from another training than the one in runs/{model}; `syncmri run` "
                "packages it anew."
            )
        run = sync_network(tracking, model)
    upload_package(tracking, run, root / PACKAGES / model, manifest, digest)
    return str(run.info.run_id)


def _create(tracking: Tracking, manifest: Manifest, digest: str, run_id: str) -> None:
    name, run = registered_name(manifest.model), tracking.client.get_run(run_id)
    if _registered(tracking, manifest.model) is None:
        try:
            tracking.client.create_registered_model(name, description=purpose(manifest.model))
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
    tags = {
        DIGEST: digest,
        "syncmri.run_key": manifest.run_key,
        "syncmri.size": str(manifest.size),
        "syncmri.licences": ",".join(manifest.licences),
        "syncmri.train_on": ",".join(manifest.train_on),
        "syncmri.revision": run.data.tags.get("mlflow.source.git.commit", ""),
    }
    source = f"{run.info.artifact_uri}/{package_place(digest)}/{MODEL}"
    # Tags come with the version in one step: there never is one without.
    tracking.client.create_model_version(name, source, run_id, tags=tags, description=manifest.summary)
