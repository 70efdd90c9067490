"""A server on a free port of this machine, in a thread of the test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp

from app.connections import ConnectionLimits
from app.hosting import Access, guarded, open_listener
from app.login import Login
from app.server import make_server

MOST_BYTES = 1 << 20
HERE, USUAL = Access("127.0.0.1", 0), ConnectionLimits()


@contextmanager
def running(
    app: ASGIApp,
    login: Login | None = None,
    *,
    access: Access = HERE,
    limits: ConnectionLimits = USUAL,
    most_bytes: int = MOST_BYTES,
) -> Iterator[str]:
    """Its address, while it answers there, behind the checks of :mod:`app.hosting`."""
    login = login or Login()
    with open_listener(access, login) as listener:
        server = make_server(guarded(app, access, login, most_bytes), limits)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        try:
            host, port = listener.getsockname()[:2]
            yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
