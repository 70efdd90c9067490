"""uvicorn as a server that stays up: it accepts connections and starts requests so that a flood keeps nobody waiting long."""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
import threading
from collections import deque
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

import typer
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app.connections import OPEN_TO_ALL, Connection, ConnectionLimits, drop_overdue, make_room
from app.server_log import log_shortly

USUAL = ConnectionLimits()
_GRACE_SECONDS = 10
_BACKLOG = 4096  # connections that the system keeps until they are accepted
_ACCEPTED_AT_ONCE = 1024
_HANDED_ON_AT_ONCE = 128  # of those accepted; as fast as they come, else the newest would keep the others waiting
_MOST_ACCEPTED = 2048  # that wait to be handed on
_RETRY_SECONDS = 0.5  # before the next is accepted, where there was no descriptor for one
_STARTED_AT_ONCE = 2  # requests, before connections and requests that are open have their turn
_SWITCH_SECONDS = 0.0002  # after which a thread that draws lets the event loop go on; 5 ms would be paid for each system call
_HEAD_BYTES = 32 << 10
_OTHER_FILES = 256  # descriptors for everything that is no connection
_MOST_FILES = 1 << 16
_FEWEST_CONNECTIONS = 16
_log = logging.getLogger("syncmri.server")


def serve_until_stopped(app: ASGIApp, listener: socket.socket, host: str, limits: ConnectionLimits = USUAL) -> None:
    """Serve until Ctrl-C or SIGTERM. Prints the address when it answers there."""
    limits = replace(limits, connections=_room_for(limits.connections))
    log_shortly()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # what is loaded by now stays; looking through it again takes half a second in which nobody is answered
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)  # uvicorn ends first, then gives the signal back to this
    make_server(app, limits, host).run(sockets=[listener])


def make_server(app: ASGIApp, limits: ConnectionLimits = USUAL, host: str = "127.0.0.1") -> uvicorn.Server:
    """The server for an application; ``run(sockets=[listener])`` runs it."""
    config = uvicorn.Config(
        _Paced(app),
        host=host,
        loop="asyncio",
        http=partial(Connection, limits),  # type: ignore[arg-type]  # called as the class is
        ws="none",
        h11_max_incomplete_event_size=_HEAD_BYTES,
        access_log=False,  # what is given out is in the lineage; refusals would fill a disk
        log_config=None,
        log_level="error",  # a warning for each malformed request would fill the log
        proxy_headers=False,  # app.login reads them, where a proxy is said to be there
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    return _Server(config, limits)


class _Server(uvicorn.Server):
    """uvicorn's server that says where it runs and keeps the deadlines of :class:`app.connections.Connection`.

    It accepts connections itself: all that wait at once, and hands the newest on first. asyncio hands them on in order, so that
    thousands of connections at once keep every later client waiting; without descriptors it writes thousands of lines.
    """

    def __init__(self, config: uvicorn.Config, limits: ConnectionLimits):
        super().__init__(config)
        self._limits = limits
        self._accepted: deque[socket.socket] = deque()
        self._handing_on = False
        self._opening: set[asyncio.Task[Any]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        for listener in sockets or []:
            listener.setblocking(False)
            listener.listen(_BACKLOG)
            self._listen(listener)
            host, port = bracketed(self.config.host), listener.getsockname()[1]
            typer.echo(f"SynCMRI is running on http://{host}:{port} (Ctrl-C ends it)", err=True)

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # each second
            drop_overdue(self.server_state.connections, self._limits)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in sockets or []:
            asyncio.get_running_loop().remove_reader(listener)
        for connection in self._accepted:
            connection.close()
        await super().shutdown(sockets)

    def _listen(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:  # the server has not ended
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                self._accepted.append(listener.accept()[0])
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:  # no descriptor or memory for it
                _log.error("A connection can't be accepted: %s", error.strerror)
                make_room([one for one in self.server_state.connections if isinstance(one, Connection)])
                loop.remove_reader(listener)
                loop.call_later(_RETRY_SECONDS, self._listen, listener)
                break
        while len(self._accepted) > _MOST_ACCEPTED:
            self._accepted.popleft().close()
        if not self._handing_on:
            self._hand_on(loop)

    def _hand_on(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(_HANDED_ON_AT_ONCE, len(self._accepted))):
            task = loop.create_task(self._open(loop, self._accepted.pop()))
            self._opening.add(task)  # the loop alone would not keep it
            task.add_done_callback(self._opening.discard)
        self._handing_on = bool(self._accepted)
        if self._handing_on:
            loop.call_soon(self._hand_on, loop)

    async def _open(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client has gone
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


class _Paced:
    """Starts few requests in each round of the event loop, so that thousands at once do not keep /health waiting.

    The others wait in order of arrival. A server that is not flooded starts each at once.
    """

    def __init__(self, app: ASGIApp):
        self._app = app
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._started = 0  # in this round
        self._ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != OPEN_TO_ALL:
            await self._turn()
        await self._app(scope, receive, send)

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._ending:
            self._ending = True
            loop.call_soon(self._end_round, loop)
        if self._started < _STARTED_AT_ONCE:
            self._started += 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _end_round(self, loop: asyncio.AbstractEventLoop) -> None:
        self._started = 0
        while self._waiting and self._started < _STARTED_AT_ONCE:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._started += 1
        self._ending = self._started > 0
        if self._ending:
            loop.call_soon(self._end_round, loop)


def _room_for(connections: int) -> int:
    """So many connections, or as many as there are file descriptors for; the soft limit is raised to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    room = connections if soft == resource.RLIM_INFINITY else min(connections, soft - _OTHER_FILES)
    return max(room, _FEWEST_CONNECTIONS)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def bracketed(host: str) -> str:
    """A name or address as a URL has it."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
