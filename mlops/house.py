"""The in-house store: what is derived from patients and belongs to a model, encrypted, outside of MLflow.

It is the folder ``inhouse/`` of the project, or ``SYNCMRI_INHOUSE``, which several machines may share. ``packages/DIGEST/``
holds the near-copy filter and the names of the patients behind one package; both open with the house's key only, ``house.key``
beside the signing key. MLflow never gets these files, since everybody who can read there could list them.
"""

import json
import os
import secrets
import shutil
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from cmr.errors import DataError
from cmr.files import whole_file, whole_folder
from mlops.approvals.keys import FOLDER, HOUSE, KeyFileError, keys_folder, read_private, write_private
from mlops.manifest import MANIFEST, file_digest, manifest_digest, read_manifest

STORE = "SYNCMRI_INHOUSE"
INHOUSE = "inhouse"
FILTER, PATIENTS = "guard.npz.enc", "lineage.json.enc"
_KEY_BYTES = 64


def house_folder(root: Path) -> Path:
    """The in-house store of the project at ``root``."""
    named = os.environ.get(STORE)
    return Path(named).expanduser().absolute() if named else root.absolute() / INHOUSE


def seal(content: bytes, name: str) -> bytes:
    """Encrypt an in-house file with the house's key, which is made on first use.

    AES-SIV (RFC 5297) is deterministic: the same content gives the same bytes, so that packaging again gives the same package.

    Args:
        name: the name of the file; it opens under this name only.
    """
    path = keys_folder() / HOUSE
    if not path.exists():
        write_private(path, secrets.token_bytes(_KEY_BYTES).hex().encode("ascii") + b"\n")
    return AESSIV(_key()).encrypt(content, [name.encode("utf-8")])


def unseal(path: Path) -> bytes:
    """Decrypt a file that :func:`seal` encrypted under the same name.

    Raises:
        KeyFileError: there is no house key here, or the file was encrypted with another one or was changed.
        DataError: there is no such file.
    """
    try:
        return AESSIV(_key()).decrypt(path.read_bytes(), [path.name.encode("utf-8")])
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; it belongs to the in-house part of a package.") from error
    except (InvalidTag, ValueError) as error:
        raise KeyFileError(
            f"{path}: the house's key {keys_folder() / HOUSE} does not open this file: it was encrypted with another key, or "
            "it was changed. Copy the key from the machine that packaged the model, or package the model here again."
        ) from error


def keep(root: Path, digest: str, source: Path) -> None:
    """Copy the in-house part of a package, the folder ``source``, into the store, and its manifest beside it."""
    place = house_folder(root) / "packages" / digest
    manifest = place.with_suffix(".json")
    if not manifest.is_file() or manifest_digest(manifest) != digest:
        with whole_file(manifest) as temporary:
            shutil.copyfile(source.parent / MANIFEST, temporary)
    if all((place / name).is_file() and file_digest(place / name) == file_digest(source / name) for name in (FILTER, PATIENTS)):
        return
    with whole_folder(place) as folder:
        for name in (FILTER, PATIENTS):
            shutil.copyfile(source / name, folder / name)


def inhouse_files(root: Path, digest: str) -> Path:
    """The folder with the in-house part of a package: in the store, or in ``packages/MODEL`` of the project if it is that one.

    Raises:
        DataError: it is not on this machine.
    """
    folder = house_folder(root) / "packages" / digest
    if folder.is_dir():
        return folder
    for manifest in sorted((root / "packages").glob("*/manifest.json")):
        if manifest_digest(manifest) == digest:
            return manifest.parent / INHOUSE
    raise DataError(
        f"{folder}: missing. The near-copy filter and the names of the patients behind a model stay in house and are not in "
        f"MLflow. Copy this folder from the machine that registered the model, set {STORE} to a folder that both share, or "
        "`dvc checkout packages` and register the model here."
    )


def known_packages(root: Path) -> dict[str, str]:
    """Digest of each package that was made in this house -> its model. MLflow has no part in it."""
    found = {}
    for path in sorted((house_folder(root) / "packages").glob("*.json")):
        if manifest_digest(path) == path.stem:
            found[path.stem] = read_manifest(path).model
    return found


def patients_of(folder: Path) -> dict[str, list[str]]:
    """DATASET/PATIENT by split (``train``, ``val``) of everybody behind a package; ``folder``: of :func:`inhouse_files`."""
    subjects: dict[str, list[str]] = json.loads(unseal(folder / PATIENTS))["subjects"]
    return subjects


def _key() -> bytes:
    path = keys_folder() / HOUSE
    if not path.exists():
        raise KeyFileError(
            f"{path}: there is no house key on this machine, and the in-house files of a model (near-copy filter, names of its "
            f"patients) open with it only. Copy it from the machine that packaged the model, or set {FOLDER}."
        )
    advice = f"expected {2 * _KEY_BYTES} hexadecimal digits; restore the file from a backup"
    try:
        key = bytes.fromhex(read_private(path).decode("ascii").strip())
    except (ValueError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path}: {advice}.") from error
    if len(key) != _KEY_BYTES:
        raise KeyFileError(f"{path}: found a key of {len(key)} bytes, {advice}.")
    return key
