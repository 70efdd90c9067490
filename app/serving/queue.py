"""Which request is drawn next."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import HTTPException, Request

T = TypeVar("T")
CLIENT_GONE = 499  # what nginx writes for it; nobody is left to read it
_ASK_SECONDS = 0.5
_RETRY_SECONDS = "5"


class AbandonedError(Exception):
    """Nobody waits for the drawing any more."""


class InferenceQueue:
    """Draws one batch at a time, whatever the model, and takes the clients in turn: who sends many requests waits longer.

    Args:
        most: requests that are drawn or wait. One more is refused (429), unless its client has fewer here than another: then
            the newest of the client with the most makes room.
    """

    def __init__(self, most: int):
        self._most = most
        self._lines: OrderedDict[str, list[_Place]] = OrderedDict()  # a client's requests; first the client that waits longest
        self._drawing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="drawing")

    async def draw(self, request: Request, client: str, batches: Sequence[Callable[[threading.Event], T]]) -> list[T]:
        """Each of ``batches`` called in a thread, in order, with others' batches between them.

        Args:
            batches: each takes an event and is to raise :class:`AbandonedError` soon after the event is set.

        Raises:
            HTTPException: 429, or the client has gone.
        """
        place = self._admit(client)
        try:
            return [await self._draw_one(request, place, batch) for batch in batches]
        finally:
            self._leave(place)

    async def _draw_one(self, request: Request, place: "_Place", batch: Callable[[threading.Event], T]) -> T:
        while not await place.granted(_ASK_SECONDS):
            if await request.is_disconnected():
                raise HTTPException(CLIENT_GONE, "the client has gone")
        if place.displaced:
            raise HTTPException(
                429, "others who ask for less come first; come again in some seconds", {"Retry-After": _RETRY_SECONDS}
            )
        stop = threading.Event()
        drawing = asyncio.get_running_loop().run_in_executor(self._thread, batch, stop)
        try:
            while not (await asyncio.wait({drawing}, timeout=_ASK_SECONDS))[0]:
                if await request.is_disconnected():
                    raise HTTPException(CLIENT_GONE, "the client has gone")
            return drawing.result()
        finally:
            stop.set()
            await asyncio.gather(drawing, return_exceptions=True)
            place.turn.clear()
            self._drawing = False
            self._lines.move_to_end(place.client)
            self._grant()

    def check_room(self, client: str) -> None:
        """Raises HTTPException (429) where a request of this client would be refused now: nothing of it need be read."""
        if self._full and len(self._largest) <= len(self._lines.get(client, [])) + 1:
            raise HTTPException(
                429,
                f"{self._most} requests are being drawn or wait already; come again in some seconds",
                {"Retry-After": _RETRY_SECONDS},
            )

    @property
    def _full(self) -> bool:
        return sum(map(len, self._lines.values())) >= self._most

    @property
    def _largest(self) -> "list[_Place]":
        return max(self._lines.values(), key=len)

    def _admit(self, client: str) -> "_Place":
        self.check_room(client)
        if self._full:
            displaced = self._largest.pop()  # never the one that is drawn: that is its client's first, and there are others
            displaced.displaced = True
            displaced.turn.set()
        place = _Place(client)
        self._lines.setdefault(client, []).append(place)
        self._grant()
        return place

    def _grant(self) -> None:
        if self._lines and not self._drawing:
            line = next(iter(self._lines.values()))
            self._drawing = True
            line[0].turn.set()

    def _leave(self, place: "_Place") -> None:
        line = self._lines.get(place.client, [])
        if place not in line:
            return  # displaced
        line.remove(place)
        if not line:
            del self._lines[place.client]
        if place.turn.is_set():  # its turn has come, and it does not take it
            self._drawing = False
            self._grant()


class _Place:
    def __init__(self, client: str):
        self.client = client
        self.turn = asyncio.Event()
        self.displaced = False

    async def granted(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.turn.wait(), seconds)
        except TimeoutError:
            return self.turn.is_set()
        return True
