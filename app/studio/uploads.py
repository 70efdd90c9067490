"""Masks that visitors upload: read as they arrive, kept in memory for the visitor who sent them, and for nobody else."""

import secrets
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app.studio.access import TooLargeError, body_parts
from app.studio.limits import Asker, asker_of, visitor_of
from app.studio.model_cache import ModelCache
from app.studio.pictures import to_text
from cmr.errors import DataError
from cmr.limit import FOREIGN

LARGEST = FOREIGN.bytes
"""Bytes of a file."""
_SUFFIXES = (".nii.gz", ".nii", ".png")
_AT_ONCE = 8
_KEPT, _KEPT_BYTES = 100, 64 << 20


@dataclass(frozen=True)
class Upload:
    """What a file held.

    Attributes:
        name: the file's name on the visitor's machine.
        masks: each as its text (:func:`app.studio.pictures.to_text`); none where the file is at ``fault``.
    """

    name: str
    masks: tuple[str, ...] = ()
    fault: str = ""


@dataclass(eq=False)
class _Arriving:
    """A file on its way, from ``asker``; its scope ends it."""

    asker: Asker
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


@dataclass(frozen=True)
class _Kept:
    person: str
    key: str
    upload: Upload

    @property
    def size(self) -> int:
        return sum(map(len, self.upload.masks))


class Uploads:
    """Files on their way, and what was read from them. May be used by several threads.

    Args:
        scratch: an existing folder, in which a file lies while it is read.
    """

    def __init__(self, model_cache: ModelCache, scratch: Path):
        self._shelf, self._scratch = model_cache, scratch
        self._reading = anyio.CapacityLimiter(1)
        self._arriving: list[_Arriving] = []
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def receive(self, request: Request, name: str) -> Response:
        """Read a file that is the body of ``request``; the answer is the key for :meth:`take`."""
        visitor, own = visitor_of(request.scope), _Arriving(asker_of(request.scope))
        if any(one.asker.visitor == visitor for one in self._arriving):
            return _refusal("Another file is on its way; send this one when it has arrived.")
        self._arriving.append(own)
        if len(self._arriving) > _AT_ONCE:
            self._displace()
        try:
            with own.scope:
                upload = await self._read(request, Path(name).name[:100] or "file")
        finally:
            if own in self._arriving:
                self._arriving.remove(own)
        if own.scope.cancelled_caught:
            return _refusal("Others sent files meanwhile, and this one took too long. Send it again.")
        return PlainTextResponse(self.keep(visitor, upload, own.asker.person))

    def _displace(self) -> None:
        """End the file that has been on its way for longest, of the person who sends most; the newest one counts."""
        people = Counter(one.asker.person for one in self._arriving)
        oldest = next(one for one in self._arriving if people[one.asker.person] == max(people.values()))
        self._arriving.remove(oldest)
        oldest.scope.cancel()

    def keep(self, visitor: str, upload: Upload, person: str = "") -> str:
        """Hold what was read in place of what the visitor sent before.

        At most a hundred visitors' masks, of 64 MB together, are held; the oldest of the person with most of them go first.
        """
        key = secrets.token_urlsafe()
        with self._lock:
            self._kept[visitor] = _Kept(person, key, upload)
            self._kept.move_to_end(visitor)
            while len(self._kept) > _KEPT or sum(one.size for one in self._kept.values()) > _KEPT_BYTES:
                bytes_of: Counter[str] = Counter()
                for one in self._kept.values():
                    bytes_of[one.person] += one.size
                most = max(bytes_of.values())
                del self._kept[next(name for name, one in self._kept.items() if bytes_of[one.person] == most)]
        return key

    def take(self, visitor: str, key: str) -> Upload:
        """What this visitor sent; it is held no longer.

        Raises:
            DataError: this visitor sent nothing under this key.
        """
        with self._lock:
            if visitor not in self._kept or self._kept[visitor].key != key:
                raise DataError("The file did not arrive, or another one came after it. Upload it again.")
            return self._kept.pop(visitor).upload

    async def _read(self, request: Request, name: str) -> Upload:
        suffix = next((suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)), None)
        if suffix is None:
            return Upload(name, fault=f"{name}: expected a .png, .nii or .nii.gz file.")
        with TemporaryDirectory(dir=self._scratch) as folder:
            path = Path(folder) / f"upload{suffix}"
            try:
                with path.open("wb") as file:
                    async for part in body_parts(request, LARGEST):
                        await run_in_threadpool(file.write, part)
                masks = await anyio.to_thread.run_sync(self._shelf.read_masks, path, name, limiter=self._reading)
            except TooLargeError:
                return Upload(name, fault=f"{name}: has more than {LARGEST >> 20} MB, which are the most that are read here.")
            except DataError as error:
                return Upload(name, fault=str(error))
        return Upload(name, tuple(to_text(mask) for mask in masks))


def _refusal(reason: str) -> Response:
    """The rest of the file is not read."""
    return PlainTextResponse(reason, 503, {"Connection": "close"})
