"""Which version of a model is approved: promotion through the gate, by override, demotion.

The gate judges the figures that the version carries, as far as they still stand in its MLflow run as they were. The alias
``approved`` moves in one step, after everything that must be known of it is written down.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cmr.errors import DataError
from mlops import registry
from mlops.connection import Tracking, connect, explained
from mlops.evidence import figures_standing
from mlops.gate import GateSettings, Verdict, judge, passes
from mlops.history import Event, alone, person, record, settle
from mlops.licences import forbidden
from mlops.lineage import withdrawn
from mlops.settings import section

REFUSED, OVERRIDE = "gate.refused", "approved.override"
"""Tags of a version: why the gate refuses it; why a person approved it all the same (of the approved version only)."""


@dataclass(frozen=True)
class Decision:
    """What became of a promotion.

    Attributes:
        verdicts: on each limit.
        reasons: why the gate refuses, a sentence each; empty where it passes.
        approved: whether the version has the alias now by this promotion.
        override: why it has it although the gate refuses.
        replaced: the version that had the alias before, if any.
    """

    version: registry.Version
    verdicts: list[Verdict]
    reasons: tuple[str, ...]
    approved: bool
    override: str | None
    replaced: int | None


def promote(
    root: Path, model: str, number: int | None = None, override: str | None = None, user: str | None = None
) -> Decision:
    """Approve a version of ``model`` if it keeps every limit of ``gate`` in params.yaml; otherwise tag why not.

    Args:
        number: of the version; None for the newest, the candidate.
        override: why it is to be approved even if the gate refuses. Not noted where the gate passes.
        user: who approves; None for whoever runs this.

    Raises:
        DataError: there is no such version, the override gives no reason, or a patient whom the version was trained on has
            withdrawn the consent: then no override helps.
        TrackingError: the registry cannot be reached.
    """
    if override is not None and not override.strip():
        raise DataError("--override needs a reason: it is kept for good beside your name.")
    with _alone(root, model) as tracking:
        version = _candidate(tracking, model) if number is None else registry.version(tracking, model, number)
        _refuse_withdrawn(root, tracking, version)
        gate = section("gate", GateSettings, root)
        verdicts = judge(figures_standing(tracking, version), gate.of(model))
        reasons = _reasons(verdicts, version, gate)
        now = registry.approved(tracking, model)
        replaced = now.number if now and now.number != version.number else None
        event = Event("refused", version.number, user or person(), reasons=reasons, **_compared(verdicts))
        if reasons and override is None:
            record(tracking, model, event)
            _tag(tracking, version, {REFUSED: "; ".join(reasons)})
            return Decision(version, verdicts, reasons, False, None, replaced)
        override = override if reasons else None
        event = replace(event, what="approved", replaced=replaced, override=override, state="pending")
        event = record(tracking, model, event)
        _tag(tracking, version, {REFUSED: "; ".join(reasons) or None, OVERRIDE: override})
        tracking.client.set_registered_model_alias(version.name, registry.APPROVED, str(version.number))
        record(tracking, model, replace(event, state="done"))
        _tidy(tracking, model)
        return Decision(version, verdicts, reasons, True, override, replaced)


def demote(root: Path, model: str, user: str | None = None) -> int:
    """Take the alias ``approved`` from the version of ``model`` that has it; returns its number.

    Raises:
        DataError: no version is approved.
        TrackingError: the registry cannot be reached.
    """
    with _alone(root, model) as tracking:
        version = registry.approved(tracking, model)
        if version is None:
            raise DataError(f"{registry.registered_name(model)}: no version is approved, so there is none to demote.")
        event = record(tracking, model, Event("demoted", version.number, user or person(), state="pending"))
        tracking.client.delete_registered_model_alias(version.name, registry.APPROVED)
        record(tracking, model, replace(event, state="done"))
        _tidy(tracking, model)
        return version.number


@contextmanager
def _alone(root: Path, model: str) -> Iterator[Tracking]:
    """A connection that no other promotion of this machine has; what an interrupted one left is put in order first."""
    root = root.absolute()
    with alone(root), explained(root):
        tracking = connect(root)
        settle(tracking, model)
        _tidy(tracking, model)
        yield tracking


def _candidate(tracking: Tracking, model: str) -> registry.Version:
    found = [version for version in registry.versions(tracking, model) if registry.CANDIDATE in version.aliases]
    if not found:
        raise DataError(
            f"{registry.registered_name(model)}: no version is registered. Train it with `syncmri run`, then `syncmri register "
            f"{model}`."
        )
    return found[0]


def _refuse_withdrawn(root: Path, tracking: Tracking, version: registry.Version) -> None:
    if withdrawn(root, tracking, version):
        raise DataError(
            f"{version.name} version {version.number} was trained on scans of a patient who has withdrawn the consent; it "
            "can't be approved, nor by --override. `syncmri run` trains without this patient, and registers a new version."
        )


def _reasons(verdicts: list[Verdict], version: registry.Version, gate: GateSettings) -> tuple[str, ...]:
    licences = tuple(filter(None, (part.strip() for part in version.tags.get("syncmri.licences", "").split(","))))
    found = [_sentence(verdict) for verdict in verdicts if verdict.outcome != "pass"] + forbidden(licences, gate.use)
    return tuple(found) if found or passes(verdicts) else (f"gate in params.yaml has no limits for {version.model}",)


def _sentence(verdict: Verdict) -> str:
    name = f"{verdict.axis}.{verdict.name}"
    if verdict.compared is None or verdict.bound is None:
        return f"{name} is missing: {verdict.reason}"
    return f"{name} is {verdict.compared:.4g}, {required(verdict)} was asked for"


def required(verdict: Verdict) -> str:
    """What a limit asks for, in words: ``≤ 0.9``."""
    bound = verdict.limit.bound
    shown = "–" if verdict.bound is None else f"{verdict.bound:.4g}"
    return f"{verdict.limit.sign} {shown} ({bound})" if isinstance(bound, str) else f"{verdict.limit.sign} {shown}"


def _compared(verdicts: list[Verdict]) -> dict[str, Any]:
    named = {f"{verdict.axis}.{verdict.name}": verdict for verdict in verdicts}
    return {
        "values": {name: None if one.compared is None else float(f"{one.compared:.6g}") for name, one in named.items()},
        "limits": {name: required(one) for name, one in named.items()},
    }


def _tag(tracking: Tracking, version: registry.Version, tags: Mapping[str, str | None]) -> None:
    """Set tags of a version; None removes one."""
    number = str(version.number)
    for key, text in tags.items():
        if text is not None:
            tracking.client.set_model_version_tag(version.name, number, key, text)
        elif key in version.tags:
            tracking.client.delete_model_version_tag(version.name, number, key)


def _tidy(tracking: Tracking, model: str) -> None:
    """Take the mark of an override from versions that are not approved (any more, or never were: somebody was interrupted)."""
    for version in registry.versions(tracking, model):
        if OVERRIDE in version.tags and registry.APPROVED not in version.aliases:
            _tag(tracking, version, {OVERRIDE: None})
