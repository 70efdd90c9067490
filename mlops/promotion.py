"""Which version of a model is approved: promotion through the gate, by override, demotion.

The gate judges the figures that the version carries, as far as they still stand in its MLflow run as they were. A promotion is
a signed statement; the alias ``approved`` follows it, and MLflow's tags show it to people.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cmr.errors import DataError
from mlops import registry
from mlops.approvals.chain import Chain
from mlops.approvals.current import project_policy
from mlops.approvals.keys import person, trusted_signer
from mlops.approvals.statement import Statement
from mlops.approvals.store import alone, append, deliver, read_chain, remembered_chain, take_away
from mlops.connection import Tracking, TrackingError, connect, explained
from mlops.evidence import figures_standing
from mlops.gate import GateSettings, Verdict, judge, passes
from mlops.house import FILTER, PATIENTS, unseal
from mlops.licences import forbidden
from mlops.lineage import withdrawn
from mlops.manifest import Manifest
from mlops.settings import section

REFUSED, OVERRIDE = "gate.refused", "approved.override"
"""Tags of a version that MLflow shows: why the gate refuses it; why a person approved it all the same. They decide nothing."""
_REVISION = re.compile(r"[0-9a-f]{7,40}")
_LONGEST_TAG = 4000  # PostgreSQL takes 5000 characters


@dataclass(frozen=True)
class Decision:
    """What became of a promotion.

    Attributes:
        verdicts: on each limit.
        reasons: why the gate refuses, a sentence each; empty where it passes.
        approved: whether the version is approved now by this promotion.
        override: why it is although the gate refuses.
        replaced: the version that was approved before, if any.
        statement: id of the signed statement.
    """

    version: registry.Version
    verdicts: list[Verdict]
    reasons: tuple[str, ...]
    approved: bool
    override: str | None
    replaced: int | None
    statement: str


def promote(
    root: Path, model: str, number: int | None = None, override: str | None = None, user: str | None = None
) -> Decision:
    """Approve a version of ``model`` if it keeps every limit of ``gate`` in params.yaml; otherwise state why not.

    Args:
        number: of the version; None for the newest, the candidate.
        override: why it is to be approved even if the gate refuses. Not noted where the gate passes.
        user: who approves; None for whoever runs this.

    Raises:
        DataError: there is no such version, its files are not those that were registered, the override gives no reason, or a
            patient whom the version was trained on has withdrawn the consent: then no override helps.
        KeyFileError: the project does not trust this user's key.
        TrackingError: the registry cannot be reached.
    """
    if override is not None and not override.strip():
        raise DataError("--override needs a reason: it is kept for good beside your name.")
    root = root.absolute()
    signer = trusted_signer(root)
    with alone(root), explained(root):
        tracking = connect(root)
        version = _candidate(tracking, model) if number is None else registry.version(tracking, model, number)
        chain = read_chain(tracking, model)
        digest = _digest(version)
        _refuse_withdrawn(tracking, version, digest, chain)
        folder, manifest = registry.download_package(tracking, version, digest)
        if manifest.model != model:
            raise DataError(f"{folder}: a package of '{manifest.model}', expected '{model}'; it can't be approved.")
        for name in (FILTER, PATIENTS):
            unseal(registry.inhouse_part(tracking, digest, manifest) / name)

        # Judge the figures by the project's limits
        verdicts = judge(figures_standing(tracking, version, folder), section("gate", GateSettings, root).of(model))
        reasons = (*chain.lost.values(), *_reasons(root, verdicts, manifest))
        in_force = chain.approvals
        replaced = in_force[-1].version if in_force and in_force[-1].version != version.number else None
        statement = Statement(
            "refused" if reasons and override is None else "approved",
            model,
            version.number,
            digest,
            user or person(),
            policy=project_policy(root, model),
            verdicts=tuple(verdict.to_json() for verdict in verdicts),
            reasons=reasons,
            about=_about(version, manifest),
        )
        if statement.what == "refused":
            statement = append(tracking, statement, chain, signer)
            _tag(tracking, version, {REFUSED: "; ".join(reasons)})
            return Decision(version, verdicts, reasons, False, None, replaced, statement.id)

        # Sign first: whatever happens afterwards, nothing has the alias without a statement
        override = override if reasons else None
        statement = replace(statement, override=override, replaced=replaced, disregarded=tuple(sorted(chain.lost)))
        statement = append(tracking, statement, chain, signer)
        _tag(tracking, version, {REFUSED: "; ".join(reasons) or None, OVERRIDE: override})
        tracking.client.set_registered_model_alias(version.name, registry.APPROVED, str(version.number))
        _tidy(tracking, model)
        return Decision(version, verdicts, reasons, True, override, replaced, statement.id)


def demote(root: Path, model: str, user: str | None = None) -> int:
    """Take the approval from the approved version of ``model``; returns its number.

    It works without a key, with a broken record of approvals and without MLflow, since taking away does no harm: the in-house
    store has the demotion first.

    Raises:
        DataError: no version is approved.
        TrackingError: MLflow can't be reached; the demotion counts where the in-house store is read.
    """
    root = root.absolute()
    with alone(root):
        chain, tracking, version, faults = remembered_chain(root, model), None, None, []
        try:
            with explained(root):
                tracking = connect(root)
                version = registry.approved(tracking, model)
                chain = read_chain(tracking, model)
        except DataError as error:
            faults.append(error)
        stated = chain.approvals[-1] if chain.approvals else None
        if version is None and stated is None:
            if faults:
                raise faults[0]
            raise DataError(f"{registry.registered_name(model)}: no version is approved, so there is none to demote.")
        number = version.number if version else stated.version if stated else 0
        package = stated.package if stated and stated.version == number else (version.digest or "" if version else "")
        take_away(root, Statement("demoted", model, number, package, user or person()))
        if tracking is None:
            raise TrackingError(
                f"version {number} is demoted in the in-house store, and servers that read another one do not know it yet: "
                f"repeat the command when MLflow is back. {faults[0]}"
            )
        for bring in (lambda: deliver(tracking, model), lambda: _drop_alias(tracking, version), lambda: _tidy(tracking, model)):
            try:
                with explained(root):
                    bring()
            except DataError as error:
                print(f"warning: {error}", file=sys.stderr)
        return number


def _drop_alias(tracking: Tracking, version: registry.Version | None) -> None:
    if version:
        tracking.client.delete_registered_model_alias(version.name, registry.APPROVED)


def required(limit: Mapping[str, Any], bound: float | None) -> str:
    """What a limit (:class:`mlops.gate.Limit` as a mapping) asks for, in words: ``≤ 0.9``.

    Args:
        bound: the number to be kept; None where it is another figure's and that is missing.
    """
    sign, named = ("≤", limit["at_most"]) if limit.get("at_least") is None else ("≥", limit["at_least"])
    shown = "–" if bound is None else f"{bound:.4g}"
    return f"{sign} {shown} ({named})" if isinstance(named, str) else f"{sign} {shown}"


def _candidate(tracking: Tracking, model: str) -> registry.Version:
    found = [version for version in registry.versions(tracking, model) if registry.CANDIDATE in version.aliases]
    if not found:
        raise DataError(
            f"{registry.registered_name(model)}: no version is registered. Train it with `syncmri run`, then `syncmri register "
            f"{model}`."
        )
    return found[0]


def _digest(version: registry.Version) -> str:
    if version.digest is None:
        raise DataError(f"{version.name} version {version.number} was not made by `syncmri register`; it can't be approved.")
    return version.digest


def _refuse_withdrawn(tracking: Tracking, version: registry.Version, digest: str, chain: Chain) -> None:
    if withdrawn(tracking, version, digest, chain.withdrawn):
        raise DataError(
            f"{version.name} version {version.number} was trained on scans of a patient who has withdrawn the consent; it "
            "can't be approved, nor by --override. `syncmri run` trains without this patient, and registers a new version."
        )


def _reasons(root: Path, verdicts: list[Verdict], manifest: Manifest) -> tuple[str, ...]:
    use = section("gate", GateSettings, root).use
    found = [_sentence(verdict) for verdict in verdicts if verdict.outcome != "pass"] + forbidden(manifest.licences, use)
    return tuple(found) if found or passes(verdicts) else (f"gate in params.yaml has no limits for {manifest.model}",)


def _sentence(verdict: Verdict) -> str:
    name = f"{verdict.axis}.{verdict.name}"
    if verdict.compared is None or verdict.bound is None:
        return f"{name} is missing: {verdict.reason}"
    return f"{name} is {verdict.compared:.4g}, {required(asdict(verdict.limit), verdict.bound)} was asked for"


def _about(version: registry.Version, manifest: Manifest) -> dict[str, Any]:
    """What a statement says of the package; the git revision is that of the training's run."""
    facts = {key: value for key, value in asdict(manifest).items() if key not in ("files", "sizes", "model", "summary")}
    revision = version.tags.get("syncmri.revision", "")
    return {**facts, "revision": revision if _REVISION.fullmatch(revision) else ""}


def _tag(tracking: Tracking, version: registry.Version, tags: Mapping[str, str | None]) -> None:
    """Set tags of a version; None removes one. They are for people to read, so a store that refuses costs a warning only."""
    number = str(version.number)
    try:
        with explained(tracking.root):
            for key, text in tags.items():
                if text is not None:
                    tracking.client.set_model_version_tag(version.name, number, key, text[:_LONGEST_TAG])
                elif key in version.tags:
                    tracking.client.delete_model_version_tag(version.name, number, key)
    except TrackingError as error:
        print(f"warning: the tags of {version.name} {number} in MLflow are not up to date: {error}", file=sys.stderr)


def _tidy(tracking: Tracking, model: str) -> None:
    """Take the mark of an override from versions that are not approved (any more)."""
    for version in registry.versions(tracking, model):
        if OVERRIDE in version.tags and registry.APPROVED not in version.aliases:
            _tag(tracking, version, {OVERRIDE: None})
