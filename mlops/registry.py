"""MLflow's model registry: the versions of each model, as they are made from packages and fetched again.

A version points to artifacts of its network's run. They are uploaded whole before the version becomes visible; the version is
found again by the digest of its package, so that registering twice, or after a kill at any moment, gives one version.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

from cmr.errors import DataError
from cmr.files import whole_folder
from mlops.card import purpose
from mlops.connection import Tracking
from mlops.gate import MASKS
from mlops.package import INHOUSE, MODEL, PACKAGES, content_digest, read_package
from mlops.records import read_network
from mlops.sync import sync_network
from models.registry import GENERATORS

MODELS: tuple[str, ...] = (MASKS, *GENERATORS)
"""Everything that is registered: the mask model, and each generator."""
CANDIDATE, APPROVED = "candidate", "approved"
"""Aliases: the newest version; the one that the gate, or a person, has approved."""
DIGEST = "syncmri.package"
UPLOADED = "syncmri.uploaded"
_LOCK_SECONDS = 600.0  # an upload takes its time


@dataclass(frozen=True)
class Version:
    """One version of a registered model.

    Attributes:
        model, name: ``ddpm`` and ``syncmri-ddpm``.
        run_id: MLflow's run of the training.
        tags: ``syncmri.package`` (digest), ``.run_key``, ``.size`` (pixels), ``.licences`` and ``.train_on`` (comma-separated),
            ``.revision`` (git commit, or empty), and whatever promotion adds.
        aliases: ``candidate``, ``approved`` or none.
    """

    model: str
    name: str
    number: int
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    created_ms: int


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
    return [model for model in MODELS if (root / PACKAGES / model / "package.json").is_file()]


def register(tracking: Tracking, model: str) -> Version:
    """Make a version of the package of ``model``, as the candidate; if there is one of this very package, return that.

    Raises:
        DataError: there is no package, or it was made from another training than the one in ``runs/``.
    """
    root = tracking.root.absolute()
    package = read_package(root, model)
    (root / ".syncmri").mkdir(exist_ok=True)
    with FileLock(root / ".syncmri" / "register.lock", timeout=_LOCK_SECONDS):
        found = _of_digest(tracking, model, package["digest"])
        if found is None:
            run_id = _upload(tracking, model, package)
            _create(tracking, model, package, run_id)
            found = _of_digest(tracking, model, package["digest"])
        assert found is not None
        newest = versions(tracking, model)[0]
        if CANDIDATE not in newest.aliases:  # also where somebody was stopped before it
            tracking.client.set_registered_model_alias(newest.name, CANDIDATE, str(newest.number))
        return version(tracking, model, found.number)


def download_model(tracking: Tracking, version: Version) -> Path:
    """The version's MLflow model folder, on this machine. Fetched once, and checked against the digest of its package."""
    return _download(tracking, version) / MODEL


def download_inhouse(tracking: Tracking, version: Version) -> Path:
    """What belongs to the version and must not leave the house: ``guard.npz`` and ``lineage.json``."""
    return _download(tracking, version) / INHOUSE


def lineage_of(tracking: Tracking, version: Version) -> dict[str, list[str]]:
    """DATASET/PATIENT by split (``train``, ``val``) of everybody whom the version was trained, or its checkpoint chosen, on."""
    path = download_inhouse(tracking, version) / "lineage.json"
    return json.loads(path.read_text(encoding="utf-8"))["subjects"]


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
    """The oldest version of that package: two machines that registered at one moment agree on it."""
    return next((one for one in reversed(versions(tracking, model)) if one.tags.get(DIGEST) == digest), None)


def _place(digest: str) -> str:
    """Where a package lies among the artifacts of its run; a run has several where figures came later."""
    return f"packages/{digest[:16]}"


def _upload(tracking: Tracking, model: str, package: Mapping[str, str]) -> str:
    """Bring the package into the artifacts of its network's run; returns the run's id."""
    root = tracking.root.absolute()
    run = tracking.find(package["run_key"])
    if run is None:
        if read_network(root, model)["run_key"] != package["run_key"]:
            raise DataError(
                f"{root / PACKAGES / model}: packaged from another training than the one in runs/{model}; `syncmri run` "
                "packages it anew."
            )
        run = sync_network(tracking, model)
    done = f"{UPLOADED}.{package['digest'][:16]}"
    if done not in run.data.tags:
        for part in (MODEL, INHOUSE):
            place = f"{_place(package['digest'])}/{part}"
            tracking.client.log_artifacts(run.info.run_id, str(root / PACKAGES / model / part), place)
        tracking.log(run, tags={done: "yes"})  # last, so that an upload cut short is done again
    return run.info.run_id


def _create(tracking: Tracking, model: str, package: Mapping[str, str], run_id: str) -> None:
    name, run = registered_name(model), tracking.client.get_run(run_id)
    if _registered(tracking, model) is None:
        try:
            tracking.client.create_registered_model(name, description=purpose(model))
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
    tags = {
        DIGEST: package["digest"],
        "syncmri.run_key": package["run_key"],
        "syncmri.size": str(package["size"]),
        "syncmri.licences": ",".join(package["licences"]),
        "syncmri.train_on": ",".join(package["train_on"]),
        "syncmri.revision": run.data.tags.get("mlflow.source.git.commit", ""),
    }
    source = f"{run.info.artifact_uri}/{_place(package['digest'])}/{MODEL}"
    # Tags come with the version in one step: there never is one without.
    tracking.client.create_model_version(name, source, run_id, tags=tags, description=package["summary"])


def _download(tracking: Tracking, version: Version) -> Path:
    digest = version.tags.get(DIGEST)
    if digest is None:
        raise DataError(f"{version.name} version {version.number} was not made by `syncmri register`; it can't be used here.")
    folder = tracking.root.absolute() / ".syncmri" / "registry" / digest[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock"), timeout=_LOCK_SECONDS):
        if not folder.is_dir():
            with whole_folder(folder) as temporary:
                fetched = tracking.client.download_artifacts(version.run_id, _place(digest), str(temporary))
                found = content_digest(Path(fetched), version.tags["syncmri.run_key"])
                if found != digest:
                    raise DataError(
                        f"{version.name} version {version.number}: its files in MLflow are not those that were registered "
                        f"(digest {found[:16]}, expected {digest[:16]}). Do not use it; register the model anew."
                    )
                Path(fetched).rename(temporary / "package")  # where it was put depends on the kind of artifact store
    return folder / "package"
