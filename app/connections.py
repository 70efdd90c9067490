"""Connections of a server: how many there are, how long each may keep it waiting, and which go first when there is no room."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import h11
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_READ_BYTES = 8 << 10  # at a time: what one client sends is parsed in pieces, between which the others have their turn
_PIECE = 64 << 10  # of a body, after which the sum of all is looked at
_PART_DROPPED = 32  # where there is no room, one connection in so many goes: looking for one costs as much
_SHORT_SECONDS = 1.0  # in which a client that has just come says what it wants
_SURPLUS = 64  # connections beyond the limit, which /health alone is answered on
OPEN_TO_ALL = "/health"
"""The path that is always answered: without a login, and however many requests wait."""

Phase = Literal["head", "body", "answer", "work"]


@dataclass(frozen=True)
class ConnectionLimits:
    """What clients may take of a server.

    Attributes:
        connections: open at a time. One more closes those that have kept the server waiting longest.
        head_seconds, body_seconds: from the first byte that may come until head and body of a request are whole.
        answer_seconds: a client that has taken nothing of its answer for so long is dropped.
        whole_answer_seconds: until an answer has been taken.
        body_bytes: largest sum of the requests that are arriving.
        answer_bytes: largest sum of the answers that wait for their clients to read.
    """

    connections: int = 4096
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    answer_seconds: float = 20.0
    whole_answer_seconds: float = 600.0
    body_bytes: int = 96 << 20
    answer_bytes: int = 64 << 20

    def seconds(self, phase: Phase) -> float:
        """How long the server waits for a client in a phase; for ever while the server itself is at work."""
        waits = {"head": self.head_seconds, "body": self.body_seconds, "answer": self.answer_seconds}
        return waits.get(phase, float("inf"))


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 with deadlines for head, body and answer, and with a limit of connections.

    uvicorn itself waits for ever for a head, for a body, and for a client that does not read.
    """

    def __init__(self, limits: ConnectionLimits, **uvicorns: Any):
        super().__init__(**uvicorns)
        self._limits = limits
        self._seen: tuple[Any, ...] = ()
        self._since = self._answering_since = self.loop.time()
        self._received, self._received_for = 0, self.cycle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.max_size = _READ_BYTES  # type: ignore[attr-defined]
        self.look()
        most = self._limits.connections
        if len(self.connections) > most and not make_room(self._all()):
            self.app = partial(_busy, self.app)
            if len(self.connections) > most + _SURPLUS:
                self.drop()

    def data_received(self, data: bytes) -> None:
        self._count(len(data))
        super().data_received(data)

    def pause_writing(self) -> None:
        """An answer is larger than what the client takes at once."""
        super().pause_writing()
        relieve(self._all(), "unsent", self._limits.answer_bytes)

    def shutdown(self) -> None:
        """The server ends: who keeps it waiting is not waited for."""
        if self.phase == "work":
            super().shutdown()
        else:
            self.drop()

    @property
    def phase(self) -> Phase:
        """What the connection waits for: the client's next head, its body, its taking of the answer, or the server's work."""
        if self.transport.get_write_buffer_size():
            return "answer"
        if self.conn.their_state is h11.SEND_BODY:
            return "body"
        if self.cycle is None or self.cycle.response_complete:
            return "head"
        return "work"

    def look(self) -> float:
        """Seconds for which the connection has kept the server waiting by now."""
        now, phase = self.loop.time(), self.phase
        seen = (phase, self.cycle, self.transport.get_write_buffer_size())
        if seen != self._seen:
            if phase != "answer" or self._seen[0] != "answer":
                self._answering_since = now
            self._seen, self._since = seen, now
        return 0.0 if phase == "work" else now - self._since

    def overdue(self) -> bool:
        waited, phase = self.look(), self.phase
        return waited > self._limits.seconds(phase) or (
            phase == "answer" and self.loop.time() - self._answering_since > self._limits.whole_answer_seconds
        )

    def drop(self) -> None:
        """Close at once, whatever is still to be sent."""
        self.connections.discard(self)  # now, not when the loop comes to it: it counts no longer
        self.transport.abort()

    @property
    def received(self) -> int:
        """Bytes of the request that is arriving."""
        return self._received if self._received_for is self.cycle and self.phase == "body" else 0

    @property
    def unsent(self) -> int:
        """Bytes of answers that the client has not taken."""
        return self.transport.get_write_buffer_size()

    def _count(self, length: int) -> None:
        if self._received_for is not self.cycle:
            self._received, self._received_for = 0, self.cycle
        pieces = self._received // _PIECE
        self._received += length
        if self._received // _PIECE > pieces:
            relieve(self._all(), "received", self._limits.body_bytes)

    def _all(self) -> list["Connection"]:
        return [one for one in self.connections if isinstance(one, Connection)]


def drop_overdue(connections: Iterable[Any], limits: ConnectionLimits) -> None:
    """Close the connections whose deadline has passed, and the longest waiting ones while too many bytes are held for them."""
    own = [one for one in connections if isinstance(one, Connection)]
    for one in own:
        if one.overdue():
            one.drop()
    relieve(own, "unsent", limits.answer_bytes)


def relieve(connections: list[Connection], what: Literal["received", "unsent"], most: int) -> None:
    """Close the longest waiting of those that hold memory, until together they hold at most so many bytes."""
    held = {one: count for one in connections if (count := getattr(one, what))}
    total = sum(held.values())
    for one in sorted(held, key=Connection.look, reverse=True):
        if total <= most:
            return
        total -= held[one]
        one.drop()


def make_room(connections: list[Connection]) -> bool:
    """Close the connections that have waited longest for their client, some at once, of the address that has most of those.

    Returns:
        False where the server waits for no client for longer than a moment.
    """
    waits = {one: waited for one in connections if (waited := one.look()) > _SHORT_SECONDS}
    if not waits:
        return False
    addresses = Counter(_address(one) for one in waits)
    most = max(addresses.values())
    largest = [one for one in waits if addresses[_address(one)] == most]
    for one in sorted(largest, key=waits.__getitem__, reverse=True)[: 1 + most // _PART_DROPPED]:
        one.drop()
    return True


async def _busy(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers /health alone: there is no room for other work."""
    if scope["type"] == "http" and scope["path"] != OPEN_TO_ALL:
        detail = "the server has no room for another connection; come again in some seconds"
        app = JSONResponse({"detail": detail}, 503, {"Retry-After": "5", "Connection": "close"})
    await app(scope, receive, send)


def _address(connection: Connection) -> str:
    return connection.client[0] if connection.client else ""
