"""Which requests reach the page's program: those that the page itself makes, each as its own visitor's.

Gradio's server has some sixty routes: files of the machine, proxies, editors of its source, APIs. The page uses seven. Here is
the list of what is let through; everything else does not exist. No request can hand Gradio a file: no component of the page
takes one, and an object in the data, such as Gradio's description of a file, is refused.

A **visitor** is a browser with a signed cookie of this server. The name of a session, which the browser chooses, is joined with
the visitor before Gradio sees it, so that nobody can ask for the answers, the state or the files of somebody else.
"""

import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.datastructures import Headers
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.studio.limits import VISITOR, Asker, Most, Places, RefusedError, asker_of, visitor_of
from app.studio.waiting import Queue

LARGEST_REQUEST = 1 << 20
"""Bytes of what a button sends: a mask of 512 x 512 pixels fits."""
_STREAMS = Most(visitor=12, person=48, in_all=2048)
"""Streams of answers and heartbeats, which have no deadline: an open page has one or two."""
_SENDS = Most(visitor=16, person=16, in_all=64)
"""Files that are being sent: each holds an open file and some 100 KB until the client has read it."""
_LONGEST_LIST = 100
_FILE = r"[\w-][\w.-]*"
_PAGE = re.compile(rf"/(?:theme\.css|favicon\.ico|(?:static|assets)(?:/{_FILE})+)?", re.ASCII)
_DOWNLOAD = re.compile(r"/download/[\w-]{43}", re.ASCII)
_HEARTBEAT = re.compile(r"/gradio_api/heartbeat/([A-Za-z0-9]{1,32})")
_DATA, _JOIN, UPLOAD = "/gradio_api/queue/data", "/gradio_api/queue/join", "/mask"
_SAME_ORIGIN = ("same-origin", "none")  # Sec-Fetch-Site of the page's own requests, and of an address that a person typed

_Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Text = Annotated[str, StringConstraints(max_length=LARGEST_REQUEST)]
_Session = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,32}$")]


class _Event(BaseModel):
    """What the page sends when a button is pressed; Gradio's further fields are dropped, for no handler of ours uses them."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    fn_index: int
    session_hash: _Session
    data: Annotated[
        list[bool | _Whole | float | _Text | Annotated[list[_Text], Field(max_length=_LONGEST_LIST)] | None],
        Field(max_length=_LONGEST_LIST),
    ]


class PageRequests:
    """Lets through what the page asks for, as the visitor's own, and answers everything else itself.

    Args:
        queue: the queue of the page.
    """

    def __init__(self, app: ASGIApp, queue: Queue):
        self._app, self._queue = app, queue
        self._sends, self._streams = Places(_SENDS, 503), Places(_STREAMS, 429)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            with ExitStack() as stack:
                try:
                    scope, receive, place = await self._let_through(dict(scope), receive)
                    stack.enter_context(place)
                except RefusedError as refused:
                    await PlainTextResponse(refused.reason, refused.status)(scope, receive, send)
                except ClientDisconnect:
                    pass
                else:
                    await self._app(scope, receive, send)
        # a WebSocket gets no answer: the page opens none

    async def _let_through(self, scope: Scope, receive: Receive) -> tuple[Scope, Receive, AbstractContextManager[None]]:
        """The request as the program may see it, and its place among what its asker may have, until the answer has ended.

        Raises:
            RefusedError: the page makes no such request.
        """
        place: AbstractContextManager[None] = nullcontext()
        asker = asker_of(scope)
        method, path, query = scope["method"], scope["path"], scope["query_string"]
        scope["query_string"] = b""
        if Headers(scope=scope).get("sec-fetch-site", "none") not in _SAME_ORIGIN and path != "/":
            raise RefusedError("Another page asks for this; only the studio's own page may.", 403)
        if method in ("GET", "HEAD") and path == "/":
            scope["session"].setdefault(VISITOR, secrets.token_urlsafe())
        elif method == "GET" and path == "/report":
            place = self._sends.taken(asker)
        elif method == "GET" and _PAGE.fullmatch(path):
            pass
        elif method == "GET" and (heartbeat := _HEARTBEAT.fullmatch(path)):
            path = f"/gradio_api/heartbeat/{_own(scope, heartbeat[1])}"
            scope["path"], scope["raw_path"] = path, path.encode()
            place = self._streams.taken(asker)
        elif method == "GET" and path == _DATA and (session := re.fullmatch(rb"session_hash=([A-Za-z0-9]{1,32})", query)):
            own = _own(scope, session[1].decode())
            scope["query_string"] = f"session_hash={own}".encode()
            place = self._listening(asker, own)
        elif method == "GET" and _DOWNLOAD.fullmatch(path):
            visitor_of(scope)
            place = self._sends.taken(asker)
        elif method == "POST" and path == UPLOAD:
            visitor_of(scope)
            scope["query_string"] = query
        elif method == "POST" and path == _JOIN:
            body, place = await self._event(scope, receive, asker)
            scope["headers"] = _headers(scope, len(body))
            receive = _replay(body, receive)
        else:
            raise RefusedError("There is nothing here.", 404)
        return scope, receive, place

    @contextmanager
    def _listening(self, asker: Asker, session: str) -> Iterator[None]:
        with self._streams.taken(asker), self._queue.sessions.listening(session):
            yield

    async def _event(self, scope: Scope, receive: Receive, asker: Asker) -> tuple[bytes, AbstractContextManager[None]]:
        try:
            body = b"".join([part async for part in body_parts(Request(scope, receive), LARGEST_REQUEST)])
            event = _Event.model_validate_json(body)
        except ValidationError as error:
            raise RefusedError("The page sends no such values.", 400) from error
        if self._queue.takes(event.fn_index) != len(event.data):
            raise RefusedError("The page has no such event.", 400)
        session = _own(scope, event.session_hash)
        sent: dict[str, Any] = event.model_dump() | {"session_hash": session}
        return json.dumps(sent).encode(), self._queue.joined(event.fn_index, asker, session)


class TooLargeError(RefusedError):
    """A body of more bytes than are taken."""


def with_visitors(app: ASGIApp) -> ASGIApp:
    """Give each browser a cookie that only this process can make; one name for each process, for cookies know no ports."""
    return SessionMiddleware(
        app,
        secret_key=secrets.token_urlsafe(),
        session_cookie=f"syncmri-studio-{secrets.token_hex(4)}",
        max_age=None,
        same_site="strict",
    )


async def body_parts(request: Request, most: int) -> AsyncIterator[bytes]:
    """The body of a request, as it arrives.

    Raises:
        TooLargeError: it has more than ``most`` bytes; no more of them are read.
    """
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooLargeError(f"More than {most} bytes were sent.", 413)
        yield part


def _own(scope: Scope, session: str) -> str:
    """The name of a session of this visitor; nobody else can ask for it."""
    return hashlib.sha256(f"{visitor_of(scope)}/{session}".encode()).hexdigest()


def _headers(scope: Scope, length: int) -> Sequence[tuple[bytes, bytes]]:
    changed = (b"content-length", b"transfer-encoding", b"content-type")
    kept = [(name, value) for name, value in scope["headers"] if name.lower() not in changed]
    return [*kept, (b"content-length", str(length).encode()), (b"content-type", b"application/json")]


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then whatever else arrives."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
