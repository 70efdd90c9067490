"""Which version of a model may be used now.

Alias, newest statement and package must agree: MLflow's alias ``approved`` names a version, the newest statement of the chain
approves that version and is signed with a trusted key, and the files are those of the package that the statement names.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmr.errors import DataError
from mlops import registry
from mlops.approvals.chain import Chain
from mlops.approvals.keys import TRUSTED
from mlops.approvals.statement import Policy, Statement
from mlops.approvals.store import read_chain
from mlops.connection import Tracking
from mlops.gate import GateSettings
from mlops.lineage import withdrawn
from mlops.settings import section


class NotApprovedError(DataError):
    """The model has no approved version that may be used, or no longer the one that is in use."""


@dataclass(frozen=True)
class Approval:
    """The version that may be used, and the statement that says so.

    Attributes:
        signer: the name of the trusted key that has signed the statement.
        marks: what must be said wherever the version is used: an override, limits other than the project's.
    """

    version: registry.Version
    statement: Statement
    signer: str
    marks: tuple[str, ...]


def approved_now(tracking: Tracking, model: str) -> Approval:
    """The approved version of a model.

    Raises:
        NotApprovedError: there is none, or none that may be used; the message says why and what to do.
        DataError: the list of trusted keys, or params.yaml, is broken.
    """
    chain, version = read_chain(tracking, model), registry.approved(tracking, model)
    name = registry.registered_name(model)
    if chain.lost:
        raise NotApprovedError(
            f"{name}: the record of its approvals is not whole, so nothing counts as approved. "
            f"{next(iter(chain.lost.values()))} `syncmri verify {model}` shows all of it. Find out who changed it; `syncmri "
            f"promote {model} --override REASON` goes on without what is lost."
        )
    if version is None:
        raise NotApprovedError(_without_alias(tracking, model, chain))
    statement = _statement(chain, version)
    if withdrawn(tracking, version, statement.package, chain.withdrawn):
        raise NotApprovedError(
            f"{version.name} {version.number} learnt from scans of a patient who has withdrawn the consent; nothing new is "
            f"given out from it. `syncmri demote {model}`, and promote a version that was trained without."
        )
    marks = [f"approved by override: {statement.override}"] if statement.override else []
    if differing := differences(statement.policy, project_policy(tracking.root, model)):
        gate = section("gate", GateSettings, tracking.root)
        if gate.other_limits == "refuse":
            raise NotApprovedError(
                f"{version.name} {version.number} was approved under other limits than this project's: {'; '.join(differing)}. "
                f"`syncmri promote {model}` judges it by these; gate.other_limits: mark would use it with a mark."
            )
        marks.append(f"approved under other limits: {'; '.join(differing)}")
    return Approval(version, statement, chain.signers[statement.id], tuple(marks))


def project_policy(root: Path, model: str) -> Policy:
    """The limits that the project at ``root`` holds ``model`` to, ``gate`` of its params.yaml."""
    content = section("gate", GateSettings, root).policy(model)
    return Policy(policy_digest(content), content)


def policy_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of a policy's content in JSON with sorted keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def differences(theirs: Policy | None, ours: Policy) -> list[str]:
    """In what a statement's policy differs from the project's, a phrase each; nothing where both are the same."""
    if theirs is None:
        return ["the approval names no limits"]
    if theirs.digest != policy_digest(theirs.content):
        return ["the approval's limits do not have the digest that it names"]
    return list(_differing(theirs.content, ours.content, ""))


def _differing(theirs: Any, ours: Any, path: str) -> Iterator[str]:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in dict.fromkeys([*ours, *theirs]):
            yield from _differing(theirs.get(key), ours.get(key), f"{path}.{key}" if path else str(key))
    elif theirs != ours:
        yield f"{path} was {_shown(theirs)}, here {_shown(ours)}"


def _shown(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False)


def _statement(chain: Chain, version: registry.Version) -> Statement:
    """The approval in force for the version that has the alias."""
    for statement in chain.approvals:
        if statement.version == version.number:
            return statement
    has = f"models:/{version.name}@{registry.APPROVED} is version {version.number}, but"
    again = f"`syncmri promote {version.model} --version {version.number}` judges and signs it."
    if in_force := chain.approvals:
        newest = in_force[-1]
        raise NotApprovedError(
            f"{has} the newest signed statement approves version {newest.version} ({newest.who}, {newest.when[:16]}): somebody "
            f"moved the alias, or a promotion was interrupted. {again}"
        )
    unsigned = [one for one in chain.ignored if one.what == "approved" and one.version == version.number]
    if unsigned:
        raise NotApprovedError(f"{has} its approval is signed with no key of {TRUSTED}. {again}")
    last = next((one for one in reversed(chain.history) if one.decides), None)
    why = f"it was {last.what} by {last.who} on {last.when[:10]}" if last else "nobody has signed an approval"
    raise NotApprovedError(f"{has} {why}: the alias alone approves nothing. {again}")


def _without_alias(tracking: Tracking, model: str, chain: Chain) -> str:
    name = registry.registered_name(model)
    missing = f"models:/{name}@{registry.APPROVED} does not exist: "
    versions = registry.versions(tracking, model)
    if not versions:
        return f"{missing}no version of {name} is registered. `syncmri register {model}`, then `syncmri promote {model}`."
    last = chain.history[-1] if chain.history else None
    lately = f" (version {last.version} {last.what} on {last.when[:10]} by {last.who})" if last else ""
    return (
        f"{missing}of the {len(versions)} version(s) of {name} none is approved{lately}. "
        f"`syncmri promote {model}` asks the gate for the newest one; `syncmri history {model}` tells what happened before."
    )
