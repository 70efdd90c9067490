"""Masks that visitors upload: read as they arrive, kept in memory for the visitor who sent them, and for nobody else."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app.studio.access import TooLargeError, body_parts, visitor_of
from app.studio.pictures import to_text
from app.studio.shelf import Shelf
from cmr.errors import DataError
from cmr.limit import FOREIGN

LARGEST = FOREIGN.bytes
"""Bytes of a file."""
_SUFFIXES = (".nii.gz", ".nii", ".png")
_KEPT, _AT_ONCE = 100, 8


@dataclass(frozen=True)
class Upload:
    """What a file held.

    Attributes:
        name: of the file on the visitor's machine.
        masks: each as its text (:func:`app.studio.pictures.to_text`); none where the file is at ``fault``.
    """

    name: str
    masks: tuple[str, ...] = ()
    fault: str = ""


class Uploads:
    """Files on their way, and what was read from them. May be used by several threads.

    Args:
        scratch: an existing folder, in which a file lies while it is read.
    """

    def __init__(self, shelf: Shelf, scratch: Path):
        self._shelf, self._scratch = shelf, scratch
        self._reading = anyio.CapacityLimiter(1)
        self._arriving: set[str] = set()
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[str, Upload]] = OrderedDict()

    async def receive(self, request: Request, name: str) -> Response:
        """Read a file that is the body of ``request``; the answer is the key for :meth:`take`."""
        visitor = visitor_of(request.scope)
        if visitor in self._arriving or len(self._arriving) >= _AT_ONCE:
            return PlainTextResponse("Another file is on its way; send this one when it has arrived.", 503)
        self._arriving.add(visitor)
        try:
            upload = await self._read(request, Path(name).name[:100] or "file")
        finally:
            self._arriving.remove(visitor)
        return PlainTextResponse(self.keep(visitor, upload))

    def keep(self, visitor: str, upload: Upload) -> str:
        """Hold what was read in place of what the visitor sent before; at most a hundred visitors' are held."""
        key = secrets.token_urlsafe()
        with self._lock:
            self._kept[visitor] = key, upload
            self._kept.move_to_end(visitor)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return key

    def take(self, visitor: str, key: str) -> Upload:
        """What this visitor sent; it is held no longer.

        Raises:
            DataError: this visitor sent nothing under this key.
        """
        with self._lock:
            if self._kept.get(visitor, ("",))[0] != key:
                raise DataError("The file did not arrive, or another one came after it. Upload it again.")
            return self._kept.pop(visitor)[1]

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
