"""Whether a loaded version still may be used: people may demote it meanwhile, and patients may withdraw the consent."""

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cmr.errors import DataError
from mlops import registry
from mlops.approvals.current import NotApprovedError, approved_now
from mlops.connection import TrackingError, connect, explained

if TYPE_CHECKING:
    from app.approved import Approved

_RECHECK_SECONDS, _TRUSTED_SECONDS = 20.0, 60.0
_PATIENCE_SECONDS = 5.0


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
        self._root, self._model, self._number, self._digest = root, approved.model, approved.number, approved.digest
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
        with contextlib.suppress(TrackingError):
            self._fault = self._verdict()
            self._answered = time.monotonic()

    def _verdict(self) -> NotApprovedError | None:
        name = registry.registered_name(self._model)
        try:
            with explained(self._root):
                approval = approved_now(connect(self._root), self._model)
        except TrackingError:
            raise
        except NotApprovedError as error:
            return NotApprovedError(f"Version {self._number} is no longer approved. {error}")
        except DataError:  # its text may name any file of this machine, and clients of a server read the verdict
            return NotApprovedError(
                f"Whether version {self._number} of {name} is still approved cannot be known: the project's parameters, "
                f"trusted keys or in-house files cannot be read. Nothing is drawn until they can; `syncmri verify "
                f"{self._model}` on that machine says what is wrong."
            )
        if (approval.version.number, approval.statement.package) != (self._number, self._digest):
            other = approval.version.number
            successor = f"version {other}" if other != self._number else f"another network with the number {other}"
            return NotApprovedError(
                f"Version {self._number} of {name} is no longer approved: {successor} has taken its place. Start again to use "
                "that one."
            )
        return None
