"""Ways to attack approvals by somebody who can write to MLflow, over real HTTP; each is undone again at its end."""

import base64
import hashlib
import json
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import requests
from securesystemslib.signer import CryptoSigner

from mlops import registry
from mlops.approvals.current import project_policy
from mlops.approvals.keys import signing_key
from mlops.approvals.statement import sign
from mlops.approvals.store import read_chain
from mlops.connection import connect

MODEL, NAME = "ddpm", "syncmri-ddpm"


@dataclass(frozen=True)
class Target:
    """The house's project, its MLflow server, and what an attacker reads there."""

    root: Path
    uri: str
    run: str
    package: str
    statements: str

    def call(self, what: str, method: str = "post", **content: object) -> dict:
        answer = requests.request(method, f"{self.uri}/api/2.0/mlflow/{what}", json=content, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    def artifact(self, path: str) -> str:
        return f"{self.uri}/api/2.0/mlflow-artifacts/artifacts/{urllib.parse.quote(path)}"

    def read(self, path: str) -> bytes:
        answer = requests.get(self.artifact(path), timeout=60)
        assert answer.ok, answer.text
        return answer.content

    def write(self, path: str, content: bytes) -> None:
        assert requests.put(self.artifact(path), data=content, timeout=60).ok

    def delete(self, path: str) -> None:
        assert requests.delete(self.artifact(path), timeout=60).ok

    @contextmanager
    def replaced(self, path: str, change: Callable[[bytes], bytes]) -> Iterator[None]:
        before = self.read(path)
        self.write(path, change(before))
        try:
            yield
        finally:
            self.write(path, before)

    @contextmanager
    def added(self, path: str, content: bytes) -> Iterator[None]:
        self.write(path, content)
        try:
            yield
        finally:
            self.delete(path)

    @contextmanager
    def tagged(self, key: str, value: str) -> Iterator[None]:
        before = dict(registry.version(connect(self.root), MODEL, 1).tags).get(key)
        self.call("model-versions/set-tag", name=NAME, version="1", key=key, value=value)
        try:
            yield
        finally:
            if before is None:
                self.call("model-versions/delete-tag", "delete", name=NAME, version="1", key=key)
            else:
                self.call("model-versions/set-tag", name=NAME, version="1", key=key, value=before)

    def alias(self, number: int) -> None:
        self.call("registered-models/alias", name=NAME, alias="approved", version=str(number))

    @property
    def newest_statement(self) -> str:
        return f"{self.statements}/statement-{read_chain(connect(self.root), MODEL).heads[0]}.json"


def fresh_checkout(target: Target, folder: Path) -> Path:
    """Another machine of the house: the reviewed files and the in-house parts of packages, and nothing that was seen before."""
    shutil.copytree(target.root / "inhouse/packages", folder / "inhouse/packages")
    (folder / ".dvc").mkdir()
    for name in ("params.yaml", "trusted_keys.yaml"):
        shutil.copy(target.root / name, folder / name)
    return folder


def forged(target: Target, signer: CryptoSigner | None) -> bytes:
    """An approval of version 2 by the attacker, after the newest statement."""
    chain = read_chain(connect(target.root), MODEL)
    digest = registry.version(connect(target.root), MODEL, 2).digest
    assert digest
    approval = chain.approvals[0]
    statement = replace(
        approval, version=2, package=digest, previous=chain.heads, policy=project_policy(target.root, MODEL), id=""
    )
    return sign(statement, signer).content


def statement_name(content: bytes) -> str:
    return f"statement-{hashlib.sha256(content).hexdigest()}.json"


@contextmanager
def foreign_loader(target: Target) -> Iterator[None]:
    """``loader_module`` in MLmodel names the attacker's module, which lies beside it."""
    evil = b"raise SystemExit('foreign code runs')\n"
    with (
        target.added(f"{target.package}/model/code/evil.py", evil),
        target.replaced(
            f"{target.package}/model/MLmodel", lambda text: text.replace(b"mlflow.pyfunc.loaders.code_model", b"evil")
        ),
    ):
        yield


@contextmanager
def changed_loader(target: Target) -> Iterator[None]:
    with target.replaced(f"{target.package}/model/MLmodel", lambda text: text.replace(b"code_model", b"other")):
        yield


@contextmanager
def bytecode(target: Target) -> Iterator[None]:
    with target.added(f"{target.package}/model/code/models/__pycache__x/ddpm.cpython-311.pyc", b"\0" * 32):
        yield


@contextmanager
def swapped_weights(target: Target) -> Iterator[None]:
    with target.replaced(f"{target.package}/model/artifacts/weights.safetensors", lambda all: all[:-4] + b"\0\0\x80\x3f"):
        yield


@contextmanager
def more_steps(target: Target) -> Iterator[None]:
    with target.replaced(
        f"{target.package}/model/artifacts/drawing.json", lambda text: text.replace(b'"steps": 3', b'"steps": 1')
    ):
        yield


@contextmanager
def nicer_card(target: Target) -> Iterator[None]:
    with target.replaced(f"{target.package}/model/card.md", lambda text: text.replace(b"Not for diagnosis", b"For diagnosis")):
        yield


@contextmanager
def changed_manifest(target: Target) -> Iterator[None]:
    """Weights and manifest fit each other, but nobody has approved them."""
    weights = target.read(f"{target.package}/model/artifacts/weights.safetensors")
    other = weights[:-4] + b"\0\0\x80\x3f"

    def change(text: bytes) -> bytes:
        content = json.loads(text)
        content["files"]["model/artifacts/weights.safetensors"] = hashlib.sha256(other).hexdigest()
        return json.dumps(content).encode()

    with (
        target.replaced(f"{target.package}/model/artifacts/weights.safetensors", lambda _: other),
        target.replaced(f"{target.package}/manifest.json", change),
    ):
        yield


@contextmanager
def alias_by_hand(target: Target) -> Iterator[None]:
    target.alias(2)
    try:
        yield
    finally:
        target.alias(1)


@contextmanager
def unsigned_approval(target: Target) -> Iterator[None]:
    content = forged(target, None)
    with target.added(f"{target.statements}/{statement_name(content)}", content), alias_by_hand(target):
        yield


@contextmanager
def own_key(target: Target) -> Iterator[None]:
    content = forged(target, CryptoSigner.generate_ed25519())
    with target.added(f"{target.statements}/{statement_name(content)}", content), alias_by_hand(target):
        yield


@contextmanager
def borrowed_signature(target: Target) -> Iterator[None]:
    """The attacker's statement under the signature, and the key id, of the real one."""
    envelope = json.loads(target.read(target.newest_statement))
    envelope["payload"] = json.loads(forged(target, None))["payload"]
    content = json.dumps(envelope, indent=1).encode() + b"\n"
    with target.added(f"{target.statements}/{statement_name(content)}", content), alias_by_hand(target):
        yield


@contextmanager
def rewritten_statement(target: Target) -> Iterator[None]:
    """The newest statement's file holds other content under the same name."""

    def change(content: bytes) -> bytes:
        envelope = json.loads(content)
        payload = base64.b64decode(envelope["payload"]).replace(b'"version": 1', b'"version": 2')
        return json.dumps(envelope | {"payload": base64.b64encode(payload).decode()}).encode()

    with target.replaced(target.newest_statement, change), alias_by_hand(target):
        yield


@contextmanager
def removed_statement(target: Target) -> Iterator[None]:
    """An older statement is taken out of the chain."""
    oldest = f"{target.statements}/statement-{read_chain(connect(target.root), MODEL).history[0].id}.json"
    content = target.read(oldest)
    target.delete(oldest)
    try:
        yield
    finally:
        target.write(oldest, content)


@contextmanager
def stray_statement(target: Target) -> Iterator[None]:
    with target.added(f"{target.statements}/statement-{'0' * 64}.json", b"{}"):
        yield


@contextmanager
def statement_of_another_model(target: Target) -> Iterator[None]:
    """Signed with the house's own key, for version 2 of another model; it names a package that nobody approved for this one."""
    chain = read_chain(connect(target.root), MODEL)
    other = replace(chain.approvals[0], model="ldm", version=2, previous=chain.heads, id="")
    content = sign(other, signing_key()).content
    with target.added(f"{target.statements}/{statement_name(content)}", content), alias_by_hand(target):
        yield


@contextmanager
def many_runs(target: Target) -> Iterator[None]:
    """So many runs of the attacker's, older than the real one by what they say, that it could be overlooked."""
    tracking = connect(target.root)
    experiment = tracking.client.get_experiment_by_name("syncmri approvals")
    assert experiment is not None
    runs = [tracking.client.create_run(experiment.experiment_id, 1, {"syncmri.approvals": MODEL}) for _ in range(25)]
    try:
        yield
    finally:
        for run in runs:
            tracking.client.delete_run(run.info.run_id)


@contextmanager
def rewritten_envelope(target: Target) -> Iterator[None]:
    """The oldest approval once more, in another writing, under a name that nothing follows."""
    oldest = read_chain(connect(target.root), MODEL).history[0]
    content = target.read(f"{target.statements}/statement-{oldest.id}.json") + b"\n"
    with target.added(f"{target.statements}/{statement_name(content)}", content):
        yield


@contextmanager
def huge_statement(target: Target) -> Iterator[None]:
    with target.added(f"{target.statements}/statement-{'1' * 64}.json", b"x" * (3 << 20)):
        yield


@contextmanager
def odd_names(target: Target) -> Iterator[None]:
    """Names that clients of MLflow refuse, or take for a path."""
    with target.added(f"{target.statements}/C:\\x", b"x"), target.added(f"{target.statements}/a b", b"x"):
        yield


@contextmanager
def larger_weights(target: Target) -> Iterator[None]:
    with target.replaced(f"{target.package}/model/artifacts/weights.safetensors", lambda all: all + b"\0" * (1 << 20)):
        yield


@contextmanager
def moved_tag(target: Target) -> Iterator[None]:
    """The tag that names the package points to the upload of version 2, and the alias to nothing new: version 1 still loads."""
    with target.tagged(registry.DIGEST, registry.version(connect(target.root), MODEL, 2).digest or ""):
        yield


REFUSED: dict[str, tuple[Callable, str, str]] = {
    # attack -> how, what the house says, what a fresh checkout says (empty: both load version 1, unharmed)
    "foreign loader": (foreign_loader, "", r"not those that were registered\..*(MLmodel: changed|evil\.py: not listed)"),
    "changed loader": (changed_loader, "", r"model/MLmodel: changed"),
    "bytecode": (bytecode, "", r"\.pyc: not listed"),
    "swapped weights": (swapped_weights, "", r"weights\.safetensors: changed"),
    "steps": (more_steps, "", r"drawing\.json: changed"),
    "card": (nicer_card, "", r"card\.md: changed"),
    "manifest": (changed_manifest, "", r"manifest\.json: changed"),
    "alias by hand": (alias_by_hand, "approves version 1", "approves version 1"),
    "unsigned approval": (unsigned_approval, "approves version 1", "approves version 1"),
    "own key": (own_key, "approves version 1", "approves version 1"),
    "borrowed signature": (borrowed_signature, "approves version 1", "approves version 1"),
    "rewritten statement": (rewritten_statement, "approves version 1", "its content is .* not the one in its name"),
    "removed statement": (removed_statement, "", "missing, though statement-"),
    "stray statement": (stray_statement, "record of its approvals is not whole", "record of its approvals is not whole"),
    "statement of another model": (statement_of_another_model, "approves version 1", "approves version 1"),
    "many runs": (many_runs, "Somebody floods", "Somebody floods"),
    "rewritten envelope": (rewritten_envelope, "record of its approvals is not whole", "record of its approvals is not whole"),
    "huge statement": (huge_statement, "record of its approvals is not whole", "record of its approvals is not whole"),
    "odd names": (odd_names, "cannot be used now|record", "cannot be used now|record"),
    "larger weights": (larger_weights, "", r"weights\.safetensors: changed, it has \d+ bytes"),
    "moved tag": (moved_tag, "", ""),
}
