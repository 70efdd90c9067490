"""Archives that visitors may download: each for the visitor who drew it, while every version that drew it is approved."""

import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.approved import Approved
from app.studio.bundle import write_bundle
from app.studio.drawing import Drawn
from app.studio.model_cache import ModelCache
from cmr.errors import DataError
from mlops.connection import TrackingError

_SECONDS = 3600.0
_MOST = 64
_GONE = "There is no such download, or no longer. Draw again."


@dataclass(frozen=True)
class _Archive:
    path: Path
    visitor: str
    session: str
    versions: tuple[tuple[str, int], ...]
    since: float


class Downloads:
    """The archives on offer, one for each open page at most. May be used by several threads.

    Args:
        scratch: an existing folder for them.
    """

    def __init__(self, model_cache: ModelCache, scratch: Path):
        self._shelf, self._scratch = model_cache, scratch
        self._lock = threading.Lock()
        self._offered: dict[str, _Archive] = {}

    def offer(self, visitor: str, session: str, drawn: Sequence[Drawn], masks: Approved | None, mask_seed: int) -> str:
        """Write the archive of what a page shows, in place of the one before.

        Args:
            session: the page, so that the archive goes with it.
            drawn, masks, mask_seed: as in :func:`app.studio.bundle.write_bundle`.

        Returns:
            The key under which the visitor gets it.
        """
        self.drop(session)
        key = secrets.token_urlsafe()
        path = self._scratch / f"{key}.zip"
        write_bundle(path, drawn, masks, mask_seed)
        used = [one.approved for one in drawn if one.image is not None] + ([masks] if masks else [])
        archive = _Archive(path, visitor, session, tuple((one.model, one.number) for one in used), time.monotonic())
        with self._lock:
            self._offered[key] = archive
            surplus = list(self._offered)[:-_MOST]
        self._remove(surplus)
        return key

    def open(self, visitor: str, key: str) -> BinaryIO:
        """The archive as an open file, for the visitor whose it is.

        Raises:
            DataError: the visitor has no such archive, or a version that drew it is no longer approved.
            TrackingError: whether they are can't be known.
        """
        with self._lock:
            archive = self._offered.get(key)
        if archive is None or not secrets.compare_digest(archive.visitor, visitor):
            raise DataError(_GONE)
        try:
            self._check(archive)
        except TrackingError:
            raise
        except DataError:
            self._remove([key])
            raise
        try:
            return archive.path.open("rb")
        except FileNotFoundError:  # removed a moment ago, with its page
            raise DataError(_GONE) from None

    def drop(self, session: str) -> None:
        """Remove what a page offers."""
        with self._lock:
            gone = [key for key, archive in self._offered.items() if archive.session == session]
        self._remove(gone)

    def sweep(self) -> None:
        """Remove what is an hour old, and what a version drew that is no longer approved."""
        with self._lock:
            offered = dict(self._offered)
        for key, archive in offered.items():
            try:
                self._check(archive)
            except TrackingError:
                continue  # a download asks again
            except DataError:
                self._remove([key])
        self._remove([key for key, archive in offered.items() if time.monotonic() - archive.since > _SECONDS])

    def _check(self, archive: _Archive) -> None:
        for model, number in archive.versions:
            self._shelf.check(model, number)

    def _remove(self, keys: Sequence[str]) -> None:
        with self._lock:
            gone = [self._offered.pop(key) for key in keys if key in self._offered]
        for archive in gone:
            archive.path.unlink(missing_ok=True)
