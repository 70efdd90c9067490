"""May a version be used? Its alias in the registry says so, and people may take it away while the version is in use; a patient
whom it was trained on may withdraw the consent."""

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cmr.errors import DataError
from mlops import registry
from mlops.connection import Tracking, TrackingError, connect, explained
from mlops.history import history
from mlops.lineage import withdrawn

if TYPE_CHECKING:
    from app.approved import Approved

_RECHECK_SECONDS, _TRUSTED_SECONDS = 20.0, 60.0
_PATIENCE_SECONDS = 5.0


class NotApprovedError(DataError):
    """The model has no approved version that may be used, or no longer the one that is in use."""


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
            NotApprovedError: it was demoted, another version has taken its place, or a patient has withdrawn the consent.
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
        try:
            version = approved_version(tracking, self._model)
        except NotApprovedError as error:
            return NotApprovedError(f"Version {self._number} is no longer approved. {error}")
        if version.number != self._number:
            return NotApprovedError(
                f"Version {self._number} of {registry.registered_name(self._model)} is no longer approved: version "
                f"{version.number} has taken its place. Start again to use that one."
            )
        return None


def approved_version(tracking: Tracking, model: str) -> registry.Version:
    """The approved version of a model.

    Raises:
        NotApprovedError: there is none, or a patient of it has withdrawn the consent; the message says why and what to do.
    """
    version = registry.approved(tracking, model)
    if version is None:
        raise NotApprovedError(_why_not(tracking, model))
    if withdrawn(tracking.root, tracking, version):
        raise NotApprovedError(
            f"{version.name} {version.number} learnt from scans of a patient who has withdrawn the consent; nothing new is "
            f"given out from it. `syncmri demote {model}`, and promote a version that was trained without."
        )
    return version


def _why_not(tracking: Tracking, model: str) -> str:
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
