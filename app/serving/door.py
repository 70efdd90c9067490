"""What every request passes before anything of it is read: token, size, and how many others are inside."""

import asyncio
import hmac

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_TO_ALL = "/health"
_RETRY_SECONDS = "5"


class Door:
    """ASGI middleware around the whole API.

    Args:
        most_bytes: of a body.
        most_inside: requests with a body at a time; further ones are told to come again (429), so that neither waiting bodies
            nor waiting work pile up.
        body_seconds: a body must have arrived within; who sends slowly can't keep the others out.
        token: that ``Authorization: Bearer …`` must state; None asks for none.
    """

    def __init__(
        self, app: ASGIApp, *, most_bytes: int, most_inside: int, body_seconds: float = 30.0, token: str | None = None
    ):
        self._app, self._token = app, token
        self._most_bytes, self._most_inside, self._body_seconds = most_bytes, most_inside, body_seconds
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if refusal := self._refusal(scope, headers):
            await refusal(scope, receive, send)
            return
        counted = scope["method"] == "POST"
        self._inside += counted
        try:
            await self._app(scope, _in_time(receive, self._body_seconds), send)
        finally:
            self._inside -= counted

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        given = headers.get("authorization", "")
        if self._token and scope["path"] != OPEN_TO_ALL and not _same(given, f"Bearer {self._token}"):
            return _fault(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._most_bytes:
            return _fault(413, f"a body of {length[:20]} bytes; expected at most {self._most_bytes}", {"Connection": "close"})
        if scope["method"] == "POST" and self._inside >= self._most_inside:
            return _fault(
                429,
                f"{self._inside} requests are being served or wait already; come again in some seconds",
                {"Retry-After": _RETRY_SECONDS},
            )
        return None


def _in_time(receive: Receive, seconds: float) -> Receive:
    """``receive``, with a time limit until the body is whole; afterwards it only tells of a client that goes."""
    deadline = asyncio.get_running_loop().time() + seconds
    whole = False

    async def limited() -> Message:
        nonlocal whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(408, f"the body did not arrive within {seconds:g} seconds") from error
        whole = not message.get("more_body", False)
        return message

    return limited


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())  # takes as long for a near miss as for any other


def _fault(status: int, detail: str, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers)
