"""Keys without ceremony on one machine, a reviewed file for a team, and private files that only their owner can read."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from cmr.errors import DataError
from mlops.approvals.keys import (
    KeyFileError,
    distrust,
    parse_public_pem,
    public_pem,
    signing_key,
    trust,
    trusted_keys,
    trusted_signer,
)
from tests.mlops.conftest import REPOSITORY


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of keys that holds none yet."""
    monkeypatch.setenv("SYNCMRI_KEYS", str(tmp_path / "keys"))
    return tmp_path / "keys"


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: Path) -> str:
    """The public key of a colleague."""
    with monkeypatch.context() as patch:
        patch.setenv("SYNCMRI_KEYS", str(tmp_path / "colleague"))
        key = signing_key(create=True)
        assert key is not None
        return public_pem(key.public_key)


def test_the_first_use_makes_a_key_that_only_its_owner_reads_and_trusts_it(own: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        signer = trusted_signer(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((own / "signing.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    (trusted,) = trusted_keys(tmp_path)
    assert trusted.fingerprint == signer.public_key.keyid
    assert trusted_signer(tmp_path).public_key.keyid == signer.public_key.keyid
    assert [path.name for path in own.iterdir()] == ["signing.key"]


def test_a_key_that_others_can_read_is_refused(own: Path, tmp_path: Path) -> None:
    signing_key(create=True)
    (own / "signing.key").chmod(0o640)
    with pytest.raises(KeyFileError, match=r"other users can read.*chmod 600"):
        trusted_signer(tmp_path)


def test_two_at_once_make_one_key(own: Path, tmp_path: Path) -> None:
    code = "from mlops.approvals.keys import signing_key; print(signing_key(create=True).public_key.keyid)"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    several = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert len({process.communicate()[0] for process in several}) == 1


def test_a_project_that_trusts_others_does_not_trust_a_new_key_by_itself(own: Path, other: str, tmp_path: Path) -> None:
    trust(tmp_path, "colleague", parse_public_pem(other, "test"))
    with pytest.raises(KeyFileError, match=r"does not trust this key.*syncmri keys add"):
        trusted_signer(tmp_path)
    key = signing_key()
    assert key is not None
    trust(tmp_path, "me", key.public_key)
    assert trusted_signer(tmp_path).public_key.keyid == key.public_key.keyid
    assert [one.name for one in trusted_keys(tmp_path)] == ["colleague", "me"]


@pytest.mark.parametrize("broken", ["", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_broken_key_is_told(own: Path, tmp_path: Path, broken: str) -> None:
    with pytest.raises(KeyFileError, match=r"key\.pem: no public key"):
        parse_public_pem(broken, "key.pem")
    own.mkdir()
    (own / "signing.key").write_text(broken)
    (own / "signing.key").chmod(0o600)
    with pytest.raises(KeyFileError, match=r"signing\.key: not readable as a private key"):
        trusted_signer(tmp_path)


@pytest.mark.parametrize(
    "content", ["keys: [[[[", "keys:\n- name: 2026-13-45\n", "keys:\n- name: !!int x\n", "[" * 3000, "keys: 5"]
)
def test_a_broken_list_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "trusted_keys.yaml").write_text(content)
    with pytest.raises(KeyFileError, match=r"trusted_keys\.yaml"):
        trusted_keys(tmp_path)


def test_every_bit_of_a_public_key_counts(own: Path, tmp_path: Path) -> None:
    trusted_signer(tmp_path)
    path = tmp_path / "trusted_keys.yaml"
    whole = path.read_bytes()
    start = whole.index(b"MCow")
    for spot in range(start, start + 60, 5):
        path.write_bytes(whole[:spot] + bytes([whole[spot] ^ 1]) + whole[spot + 1 :])
        with pytest.raises(KeyFileError):
            trusted_keys(tmp_path)


def test_a_private_key_or_one_of_another_kind_is_not_taken_for_a_public_one(own: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    signing_key(create=True)
    with pytest.raises(KeyFileError, match="no public key"):
        parse_public_pem((own / "signing.key").read_text(), "test")
    rsa = generate_private_key(65537, 2048).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(KeyFileError, match="expected an Ed25519 public key"):
        parse_public_pem(rsa.decode(), "test")


def test_on_the_command_line(own: Path, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, ["keys", *words])
        if isinstance(done.exception, DataError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    with pytest.raises(KeyFileError, match="no signing key yet"):
        run("show")
    assert "trusted_keys.yaml trusts" in run("add")
    (tmp_path / "bert.pem").write_text(other)
    assert "trusts bert" in run("add", "bert.pem")
    assert run("show").startswith("-----BEGIN PUBLIC KEY-----")
    listed = run("list")
    assert listed.count("(yours)") == 1
    assert "bert" in listed
    with pytest.raises(KeyFileError, match="names 0 trusted keys"):
        run("remove", "nobody")
    assert "no longer" in run("remove", "bert")
    assert len(trusted_keys(tmp_path)) == 1
    assert distrust(tmp_path, trusted_keys(tmp_path)[0].fingerprint[:12])
    assert trusted_keys(tmp_path) == []
    with pytest.raises(KeyFileError, match="does not trust this key"):
        trusted_signer(tmp_path)  # an emptied list is not an invitation
