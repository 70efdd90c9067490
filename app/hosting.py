"""Hosts a web application: where it listens, under which names, and who may ask."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from starlette.authentication import AuthenticationError
from starlette.datastructures import Headers
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.connections import OPEN_TO_ALL, ConnectionLimits
from app.login import TOKEN, Login, LoginError
from app.server import USUAL, bracketed, serve_until_stopped
from cmr.errors import DataError

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[?[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?")
_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Access:
    """Where a server listens and under which names.

    Attributes:
        host: name or address of this machine to listen at.
        port: 0 takes a free one.
        names: further names by which clients call the server (``--allowed-host``).
        behind_proxy: a reverse proxy stands before the server and asks for a login, or guards the network.
    """

    host: str
    port: int
    names: tuple[str, ...] = ()
    behind_proxy: bool = False

    def __post_init__(self) -> None:
        for name in self.names:
            if not _NAME.fullmatch(name):
                raise DataError(f"--allowed-host {name[:80]}: expected a host name or address, without a port")

    @property
    def allowed(self) -> list[str]:
        """What the Host header may say, without its port."""
        return [bracketed(name) for name in dict.fromkeys((*_LOCAL_NAMES, self.host, *self.names)) if name]


def who_asks(connection: HTTPConnection) -> str:
    """The person who is logged in, ``token``, or the client's address."""
    return str(connection.user.display_name)


def open_listener(access: Access, login: Login) -> socket.socket:
    """A socket bound to the address; it does not listen yet.

    Raises:
        DataError: the address can't be used, or other machines could use the server without a login.
    """
    shown = f"{bracketed(access.host)}:{access.port}"
    try:
        found = socket.getaddrinfo(access.host, access.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise DataError(f"{shown} can't be used: --host is no name or address of this machine.") from error
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    if not (login.needed or access.behind_proxy or ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback):
        raise DataError(
            f"Other machines can reach {shown}, and nobody would be asked for a login. Set {TOKEN} in the environment "
            "(openssl rand -hex 32 makes one), or name people with --users FILE (`syncmri users add NAME --file FILE`). Where "
            "a reverse proxy asks for the login, say --behind-proxy."
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise DataError(f"{shown} can't be used ({error.strerror}). Take another one with --port or --host.") from error
    return listener


def guarded(app: ASGIApp, access: Access, login: Login, most_bytes: int) -> ASGIApp:
    """The application behind checks of each request's headers: host name, login, origin, and size and kind of the body.

    Args:
        most_bytes: largest body of a request.
    """
    app = _HeaderChecks(app, access, most_bytes)
    app = AuthenticationMiddleware(app, login, on_error=partial(_refused_login, login))
    return TrustedHostMiddleware(app, access.allowed, www_redirect=False)


def with_health(app: ASGIApp, state: dict[str, str]) -> ASGIApp:
    """The application, with ``state`` as its answer to GET /health, which asks for no login."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "http" and scope["path"] == OPEN_TO_ALL and scope["method"] in ("GET", "HEAD")
        await (JSONResponse(state) if asked else app)(scope, receive, send)

    return answer


def host_app(
    app: ASGIApp,
    listener: socket.socket,
    access: Access,
    login: Login,
    most_bytes: int,
    limits: ConnectionLimits = USUAL,
) -> None:
    """Serve an application behind the checks of :func:`guarded` until Ctrl-C or SIGTERM. Prints the address when it answers.

    Args:
        listener: from :func:`open_listener`.
        most_bytes: largest body of a request.
    """
    serve_until_stopped(guarded(app, access, login, most_bytes), listener, access.host, limits)


class _HeaderChecks:
    """Refuses a request for what its headers say of its origin and its body, before any of the body is read."""

    def __init__(self, app: ASGIApp, access: Access, most_bytes: int):
        self._app, self._most_bytes = app, most_bytes
        self._names = {name.lower() for name in access.names} if access.behind_proxy else set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        for origin in headers.getlist("origin"):
            if not self._own(origin, headers.get("host", "")):
                return fault(403, f"the request comes from a page of {origin[:100]}, which is not this server's")
        if headers.get("transfer-encoding"):
            return fault(411, "a body of unknown length; expected the header Content-Length")
        if (encoding := headers.get("content-encoding", "identity")) != "identity":
            return fault(415, f"a body packed with {encoding[:40]}; expected a plain one")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 18 or int(length) > self._most_bytes:
            return fault(413, f"a body of {length[:20]} bytes; expected at most {self._most_bytes}")
        return None

    def _own(self, origin: str, host: str) -> bool:
        """A page of this server sends its requests to the host that it came from; a proxy may change the Host header."""
        try:
            stated = urlsplit(origin)
            if stated.scheme not in ("http", "https") or not stated.hostname:
                return False
            return stated.netloc.lower() == host.lower() or stated.hostname in self._names
        except ValueError:
            return False


def fault(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that says what was found and what was expected."""
    return JSONResponse({"detail": detail}, status, headers)


def _refused_login(login: Login, connection: HTTPConnection, error: AuthenticationError) -> JSONResponse:
    assert isinstance(error, LoginError)
    headers = {"WWW-Authenticate": login.challenge} if error.status == 401 else {"Retry-After": str(error.retry)}
    return fault(error.status, str(error), headers)
