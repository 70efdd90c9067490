"""Signing keys: a person's own, and the public keys that a project trusts.

Private keys lie in ``SYNCMRI_KEYS``, or in ``~/.config/syncmri``, and only their owner can read them. The public keys that a
project trusts are in ``trusted_keys.yaml`` of its root; a change of that file is reviewed like code.
"""

import getpass
import io
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key, load_pem_public_key
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import LiteralScalarString
from securesystemslib.signer import CryptoSigner, SSlibKey

from cmr.errors import DataError
from cmr.files import whole_file

FOLDER = "SYNCMRI_KEYS"
TRUSTED = "trusted_keys.yaml"
SIGNING, HOUSE = "signing.key", "house.key"
_HEADER = """\
# Public keys whose signatures approve models in this project. Review a change of this file like a change of code:
# whoever has a key here can approve models. `syncmri keys` lists, adds and removes keys.
"""


class KeyFileError(DataError):
    """A key is missing, not readable, open to other users, or not trusted."""


@dataclass(frozen=True)
class TrustedKey:
    """A public key that a project trusts.

    Attributes:
        name: the name of its owner, such as ``anna@workstation``.
        key: the key as securesystemslib verifies with it; ``key.keyid`` is its fingerprint.
    """

    name: str
    key: SSlibKey

    @property
    def fingerprint(self) -> str:
        return str(self.key.keyid)


def keys_folder() -> Path:
    """The folder of this user's private keys; it need not exist."""
    if named := os.environ.get(FOLDER):
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser().absolute() / "syncmri"


def signing_key(*, create: bool = False) -> CryptoSigner | None:
    """This user's signing key (Ed25519); None where there is none and ``create`` is False.

    Raises:
        KeyFileError: the file is no such key, or other users can read it.
    """
    path = keys_folder() / SIGNING
    if not path.exists():
        if not create:
            return None
        write_private(path, CryptoSigner.generate_ed25519().private_bytes)
    try:
        private = load_pem_private_key(read_private(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: not readable as a private key in PEM form ({error}). {_replace_key(path)}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: found a {type(private).__name__}, expected an Ed25519 key. {_replace_key(path)}")
    return CryptoSigner(private)


def public_pem(key: SSlibKey) -> str:
    """A public key in PEM form, as ``syncmri keys show`` prints it and ``syncmri keys add`` reads it."""
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def parse_public_pem(text: str, source: str) -> SSlibKey:
    """The public key in a PEM text. Raises :class:`KeyFileError`, which names ``source``."""
    try:
        public = load_pem_public_key(text.encode("utf-8"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"{source}: no public key in PEM form. Expected what `syncmri keys show` prints: -----BEGIN PUBLIC KEY----- ..."
        ) from error
    if not isinstance(public, Ed25519PublicKey):
        raise KeyFileError(f"{source}: found a {type(public).__name__}, expected an Ed25519 public key.")
    return SSlibKey.from_crypto(public)


def trusted_keys(root: Path) -> list[TrustedKey]:
    """The keys that the project at ``root`` trusts; none where it has no ``trusted_keys.yaml``.

    Raises:
        KeyFileError: the file is broken.
    """
    path = root / TRUSTED
    if not path.exists():
        return []
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        entries = [[str(entry[part]) for part in ("name", "public", "fingerprint")] for entry in content["keys"] or []]
    except (YAMLError, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise KeyFileError(
            f"{path}: not readable ({type(error).__name__}); expected `keys:`, each with `name`, `fingerprint` and "
            "`public`. Restore the reviewed file (`git checkout`)."
        ) from error
    found = []
    for name, pem, fingerprint in entries:
        found.append(TrustedKey(name, parse_public_pem(pem, f"{path}, key '{name}'")))
        if found[-1].fingerprint != fingerprint:
            raise KeyFileError(f"{path}: the fingerprint beside the key '{name}' is another key's. Restore the reviewed file.")
    if len({one.fingerprint for one in found}) < len(found):
        raise KeyFileError(f"{path}: the same key is there twice; remove one of the entries.")
    return found


def trust(root: Path, name: str, key: SSlibKey) -> TrustedKey:
    """Add a key to ``trusted_keys.yaml``; one that is there already stays as it is.

    Raises:
        KeyFileError: another key has that name, or the file is broken.
    """
    known = trusted_keys(root)
    for one in known:
        if one.fingerprint == key.keyid:
            return one
        if one.name == name:
            raise KeyFileError(f"{root / TRUSTED}: a key called '{name}' is trusted already; give another name with --name.")
    added = TrustedKey(name, key)
    _write_trusted(root, [*known, added])
    return added


def distrust(root: Path, which: str) -> TrustedKey:
    """Remove the key with that name or fingerprint (or its first 8 or more characters); returns it.

    Approvals signed with it do not count any more: approve those versions again with a trusted key.

    Raises:
        KeyFileError: no key, or more than one, is meant.
    """
    known = trusted_keys(root)
    meant = [one for one in known if which == one.name or (len(which) >= 8 and one.fingerprint.startswith(which))]
    if len(meant) != 1:
        names = ", ".join(f"{one.name} ({one.fingerprint[:16]})" for one in known) or "none"
        raise KeyFileError(f"'{which}' names {len(meant)} trusted keys, expected one. Trusted are: {names}.")
    _write_trusted(root, [one for one in known if one is not meant[0]])
    return meant[0]


def trusted_signer(root: Path) -> CryptoSigner:
    """This user's signing key, which the project trusts.

    The first promotion in a project without ``trusted_keys.yaml`` makes the key and the file, so that one person on one machine
    needs no other command.

    Raises:
        KeyFileError: the project trusts other keys only; the message says how the key is added.
    """
    first = not (root / TRUSTED).exists()
    signer = signing_key(create=True)
    assert signer is not None
    if first:
        trust(root, default_name(), signer.public_key)
    if all(one.fingerprint != signer.public_key.keyid for one in trusted_keys(root)):
        raise KeyFileError(
            f"{keys_folder() / SIGNING}: the project does not trust this key ({signer.public_key.keyid[:16]}), so its "
            f"signature approves nothing. `syncmri keys add` puts it into {TRUSTED}; who runs the servers reviews that change."
        )
    return signer


def own_trusted_signer(root: Path) -> CryptoSigner | None:
    """This user's signing key if there is one that the project trusts, otherwise None. Nothing is created."""
    try:
        signer = signing_key()
        known = {one.fingerprint for one in trusted_keys(root)}
    except (KeyFileError, OSError):
        return None
    return signer if signer and signer.public_key.keyid in known else None


def default_name() -> str:
    """``user@host``, the name of a key of this user."""
    return f"{person()}@{socket.gethostname()}"


def person() -> str:
    """The name of the user who acts."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user has none
        return "unknown"


def open_key_files() -> Iterator[tuple[Path, str]]:
    """The private key files that other users can read, and their mode (for ``syncmri doctor``)."""
    for name in (SIGNING, HOUSE):
        path = keys_folder() / name
        if path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
            yield path, f"{mode:04o}"


def _write_trusted(root: Path, keys: list[TrustedKey]) -> None:
    entries: list[dict[str, Any]] = [
        {"name": one.name, "fingerprint": one.fingerprint, "public": LiteralScalarString(public_pem(one.key))} for one in keys
    ]
    text = io.StringIO()
    YAML().dump({"keys": entries}, text)
    with whole_file(root / TRUSTED) as temporary:
        temporary.write_text(_HEADER + text.getvalue(), encoding="utf-8")


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only this user can read, at no moment otherwise; an existing one is never replaced."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # fails where another process was faster; its key is used then
        except FileExistsError:
            return
    finally:
        temporary.unlink(missing_ok=True)


def read_private(path: Path) -> bytes:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise KeyFileError(f"{path}: other users can read this private key (mode {mode:04o}). Run `chmod 600 {path}`.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path}: not readable ({error.strerror}).") from error


def _replace_key(path: Path) -> str:
    return f"Restore it, or move it away: `syncmri keys add` makes a new one ({path.parent})."
