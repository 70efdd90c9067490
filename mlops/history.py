"""What became of the versions of a model: who approved, refused or demoted which one, when, on which figures, in whose place.

An event is a tag of its own on the registered model (``event.TIME.ID``, JSON), so that two people who act at the same time both
leave theirs. A change of the alias ``approved`` is written down as pending before the alias moves and as done after it.
"""

import getpass
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from cmr.errors import DataError
from mlops import registry
from mlops.connection import Tracking

PREFIX = "event."
What = Literal["approved", "refused", "demoted", "consent withdrawn"]
_LOCK_SECONDS = 60.0
_LONGEST = 250  # of a text: PostgreSQL takes 5000 characters a tag


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        who, when: a user's name; time in UTC, ISO 8601.
        version: that it happened to.
        values, limits: limit (``privacy.mia_auc``) -> the number that was compared, or None where it is missing; -> what was
            asked for (``≤ 0.9``).
        reasons: why the gate refuses, a sentence each; empty where it does not.
        replaced: the version that was approved until then.
        override: why a person approved it although the gate refuses.
        state: ``pending`` until what happened has happened; it stays so where somebody was interrupted.
    """

    what: What
    version: int
    who: str
    when: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    values: Mapping[str, float | None] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    replaced: int | None = None
    override: str | None = None
    state: Literal["pending", "done"] = "done"
    key: str = ""

    @property
    def moves(self) -> bool:
        """Whether it changes which version is approved."""
        return self.what in ("approved", "demoted")


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keeps others on this machine from changing meanwhile which version is approved, or may be.

    Raises:
        DataError: somebody else has been at it for a minute.
    """
    (root / ".syncmri").mkdir(exist_ok=True)
    lock = FileLock(root / ".syncmri" / "promotion.lock", timeout=_LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise DataError(f"Another promotion is at work (for {_LOCK_SECONDS:.0f} seconds now); try again later.") from error
    try:
        yield
    finally:
        lock.release()


def record(tracking: Tracking, model: str, event: Event) -> Event:
    """Write an event down; one that has its key already is written anew. Returns it with its key."""
    if not event.key:
        stamp = datetime.fromisoformat(event.when).strftime("%Y%m%dT%H%M%S.%f")
        event = replace(event, key=f"{PREFIX}{stamp}.{uuid.uuid4().hex[:8]}")
    content: dict[str, Any] = {name: value for name, value in asdict(event).items() if name != "key"}
    content["reasons"] = [_short(reason) for reason in event.reasons]
    content["override"] = _short(event.override) if event.override else None
    name = registry.registered_name(model)
    tracking.client.set_registered_model_tag(name, event.key, json.dumps(content, ensure_ascii=False))
    return event


def history(tracking: Tracking, model: str) -> list[Event]:
    """All events of a model, the oldest first; none where it is not registered.

    The last change of the alias counts as done where the alias is as it says, even if nobody lived to write that down.
    """
    return _settled(_read(tracking, model), registry.approved(tracking, model))


def settle(tracking: Tracking, model: str) -> None:
    """Write down as done what is done; before the alias moves on, and nobody could tell any more."""
    events = _read(tracking, model)
    for before, after in zip(events, _settled(events, registry.approved(tracking, model)), strict=True):
        if before != after:
            record(tracking, model, after)


def person() -> str:
    """The name of the user who acts."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user has none
        return "unknown"


def _read(tracking: Tracking, model: str) -> list[Event]:
    if not registry.versions(tracking, model):
        return []
    tags = tracking.client.get_registered_model(registry.registered_name(model)).tags
    known = {one.name for one in fields(Event)}
    events = []
    for key in sorted(tag for tag in tags if tag.startswith(PREFIX)):
        content = {name: value for name, value in json.loads(tags[key]).items() if name in known}
        events.append(Event(**content | {"key": key, "reasons": tuple(content.get("reasons", ()))}))
    return events


def _settled(events: list[Event], approved: registry.Version | None) -> list[Event]:
    last = next((place for place in reversed(range(len(events))) if events[place].moves), None)
    if last is None or events[last].state == "done":
        return events
    now = approved.number if approved else None
    if now != (events[last].version if events[last].what == "approved" else None):
        return events
    return [*events[:last], replace(events[last], state="done"), *events[last + 1 :]]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
