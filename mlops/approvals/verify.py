"""The audit of an approval: each link of the chain and each file of the package, checked anew, in words."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cmr.errors import DataError
from mlops import registry
from mlops.approvals.chain import Chain
from mlops.approvals.current import Approval, approved_now
from mlops.approvals.keys import TRUSTED, trusted_keys
from mlops.approvals.statement import Statement, file_name, id_in_name, read_statement
from mlops.approvals.store import read_chain, stored_files
from mlops.connection import Tracking, connect, explained
from mlops.house import FILTER, INHOUSE, PATIENTS, unseal
from mlops.manifest import MANIFEST, check_package, manifest_digest, read_manifest
from mlops.package import MODEL, PACKAGES
from mlops.package_store import fetch_package


@dataclass(frozen=True)
class Step:
    """One thing that was checked: what holds, or, where ``holds`` is False, what does not."""

    text: str
    holds: bool = True


def verify(root: Path, model: str) -> Iterator[Step]:
    """Check the approval of ``model``, step by step; ends after the first step that does not hold.

    Raises:
        TrackingError: the registry can't be reached.
    """
    root = root.absolute()
    with explained(root):
        tracking = connect(root)
        for step in _steps(tracking, model):
            yield step
            if not step.holds:
                return


def _steps(tracking: Tracking, model: str) -> Iterator[Step]:
    try:
        keys = trusted_keys(tracking.root)
        if not keys:
            yield Step(f"{TRUSTED}: the project trusts no key. `syncmri promote` makes one and trusts it.", False)
            return
        yield Step(f"{TRUSTED}: trusts {', '.join(f'{one.name} ({one.fingerprint})' for one in keys)}")
        yield from _statements(tracking, model)
        approval = approved_now(tracking, model)
        yield from _approval(approval)
        yield from _files(tracking, approval)
    except DataError as error:
        yield Step(str(error), False)


def _statements(tracking: Tracking, model: str) -> Iterator[Step]:
    """Files of statements in both places, then the chain that they form."""
    # The files first: reading the chain replaces a damaged copy in the in-house store by an intact one.
    in_mlflow: set[str] = set()
    remembered: set[str] = set()
    for place, name, content in stored_files(tracking, model):
        if id_in_name(name) is None:
            yield Step(f"{place}{name}: no statement has such a name. Somebody added the file.", False)
            return
        try:
            found = read_statement(name, content).statement
        except DataError as error:
            yield Step(f"{place}{error}", False)
            return
        if found.model != model:
            yield Step(f"{place}{name}: a statement on {found.model}, not on {model}. Somebody added the file.", False)
            return
        (in_mlflow if place.startswith("MLflow") else remembered).add(name)
    if gone := sorted(remembered - in_mlflow):
        yield Step(f"{gone[0]}: the in-house store has seen it, and MLflow has it no longer. Somebody removed it.", False)
        return
    yield Step(f"{len(in_mlflow)} statements in MLflow, each with the content that its name says")

    chain = read_chain(tracking, model)
    for why in chain.lost.values():
        yield Step(why, False)
    for statement in chain.ignored:
        unsigned = f"signed with no key of {TRUSTED}. It counts for nothing; remove it."
        yield Step(f"{file_name(statement.id)}: {_described(statement)}, {unsigned}", False)
    for number, statement in enumerate(chain.history, 1):
        yield Step(f"statement {number}, {statement.id[:16]}: {_described(statement)}; {_signed(chain, statement)}")


def _approval(approval: Approval) -> Iterator[Step]:
    statement, name = approval.statement, approval.version.name
    yield Step(f"alias and newest statement agree: {name} version {statement.version}, signed by {approval.signer}")
    refused = [verdict for verdict in statement.verdicts if verdict.get("outcome") != "pass"]
    if (refused or statement.reasons) and not statement.override:
        yield Step(f"{file_name(statement.id)}: {len(refused)} limits are not kept, and there is no override.", False)
    how = f"by override: {statement.override}" if statement.override else "all kept"
    yield Step(f"{len(statement.verdicts)} limits were compared, {how}")
    other = [mark for mark in approval.marks if mark.startswith("approved under other limits")]
    yield Step(other[0] if other else "the limits are those of this project")
    yield Step("no patient behind it is known to have withdrawn the consent")


def _files(tracking: Tracking, approval: Approval) -> Iterator[Step]:
    digest, model, root = approval.statement.package, approval.version.model, tracking.root
    with tempfile.TemporaryDirectory() as scratch:
        fetch_package(tracking, approval.version, digest, Path(scratch))
        manifest = read_manifest(Path(scratch, MANIFEST))
    count = sum(name.startswith(f"{MODEL}/") for name in manifest.files)
    yield Step(f"package {digest[:16]} in MLflow: the manifest and all {count} files are those that were approved")

    cached = registry.cached_package(root, digest)
    if cached.is_dir():
        check_package(cached, digest, MODEL)
        yield Step(f"{cached}: the copy of the package here is the same")
    inhouse = registry.inhouse_part(tracking, digest, manifest)
    for name in (FILTER, PATIENTS):
        unseal(inhouse / name)
    yield Step(f"{inhouse}: near-copy filter and names of the patients belong to the package, and the house's key opens them")

    own = root / PACKAGES / model
    if (own / MANIFEST).is_file():
        found = manifest_digest(own / MANIFEST)
        if found != digest and found not in {one.digest for one in registry.versions(tracking, model)}:
            yield Step(
                f"{own / MANIFEST}: neither the approved package nor another that is registered; restore or register", False
            )
            return
        for part in (MODEL, INHOUSE):
            check_package(own, found, part)
        yield Step(f"{own}: the package in this project is {'the same' if found == digest else 'another registered one'}")


def _described(statement: Statement) -> str:
    override = f", by override: {statement.override}" if statement.override else ""
    return f"version {statement.version} {statement.what} by {statement.who} on {statement.when[:19]}{override}"


def _signed(chain: Chain, statement: Statement) -> str:
    if statement.id in chain.signers:
        return f"signed by {chain.signers[statement.id]}"
    return "not signed with a trusted key" + ("" if statement.takes_away else ", and named by a later statement that is")
