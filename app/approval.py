"""Is a version still approved? Its alias in the registry says so, and people may take it away while the version is in use."""

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cmr.errors import DataError
from mlops import registry
from mlops.connection import Tracking, TrackingError, connect, explained
from mlops.history import history

if TYPE_CHECKING:
    from app.approved import Approved

_RECHECK_SECONDS, _TRUSTED_SECONDS = 20.0, 60.0
_PATIENCE_SECONDS = 5.0


class NotApprovedError(DataError):
    """The model has no approved version, or no longer the one that is in use."""


class ApprovalWatch:
    """Says whether a loaded version still is the approved one; asks the registry at most every ``every`` seconds.

    A registry that is slow or down costs ``patience`` seconds at most, until it has not answered for ``trusted`` seconds: then
    a demotion could go unseen, and nothing is drawn until it answers again. May be used by several threads.
    """

    def __init__(
        self,
        root: Path,
        approved: "Approved",
        *,
        every: float = _RECHECK_SECONDS,
        trusted: float = _TRUSTED_SECONDS,
        patience: float = _PATIENCE_SECONDS,
    ):
        self._root, self._model, self._number = root, approved.model, approved.number
        self._every, self._trusted, self._patience = every, trusted, patience
        self._starting = threading.Lock()
        self._asking: threading.Thread | None = None
        self._asked = self._answered = time.monotonic()
        self._fault: NotApprovedError | None = None

    def check(self) -> None:
        """Returns while the version is approved.

        Raises:
            NotApprovedError: it was demoted, or another version has taken its place.
            TrackingError: the registry has not answered for too long.
        """
        with self._starting:
            if time.monotonic() - self._asked >= self._every and not (self._asking and self._asking.is_alive()):
                self._asked = time.monotonic()
                self._asking = threading.Thread(target=self._ask, daemon=True)
                self._asking.start()
        if self._asking:
            self._asking.join(self._patience)
        if self._fault:
            raise self._fault
        silent = time.monotonic() - self._answered
        if silent > self._trusted:
            raise TrackingError(
                f"The registry has not answered for {silent:.0f} s: whether {registry.registered_name(self._model)} "
                f"{self._number} is still approved cannot be known. Nothing is drawn until it answers."
            )

    def _ask(self) -> None:
        with contextlib.suppress(TrackingError), explained(self._root):
            self._fault = self._verdict(connect(self._root))
            self._answered = time.monotonic()

    def _verdict(self, tracking: Tracking) -> NotApprovedError | None:
        version = registry.approved(tracking, self._model)
        if version is None:
            return NotApprovedError(f"Version {self._number} is no longer approved. {why_not(tracking, self._model)}")
        if version.number != self._number:
            return NotApprovedError(
                f"Version {self._number} of {registry.registered_name(self._model)} is no longer approved: version "
                f"{version.number} has taken its place. Start again to use that one."
            )
        return None


def why_not(tracking: Tracking, model: str) -> str:
    """Why a model has no approved version, and what to do about it."""
    name = registry.registered_name(model)
    missing = f"models:/{name}@{registry.APPROVED} does not exist: "
    versions = registry.versions(tracking, model)
    if not versions:
        return f"{missing}no version of {name} is registered. `syncmri register {model}`, then `syncmri promote {model}`."
    return (
        f"{missing}of the {len(versions)} version(s) of {name} none is approved{_lately(tracking, model)}. "
        f"`syncmri promote {model}` asks the gate for the newest one; `syncmri history {model}` tells what happened before."
    )


def _lately(tracking: Tracking, model: str) -> str:
    last = next(iter(reversed(history(tracking, model))), None)
    return f" (version {last.version} {last.what} on {last.when[:10]} by {last.who})" if last else ""
