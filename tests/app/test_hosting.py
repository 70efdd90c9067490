"""Servers of app.hosting over real sockets: deadlines, room, host names, origins, bodies, logins, faults."""

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from app.connections import ConnectionLimits
from app.hosting import Access, open_listener, who_asks, with_health
from app.login import Login
from app.server_log import log_shortly
from cmr.errors import DataError
from tests.app.serving.running import MOST_BYTES, running

QUICK = ConnectionLimits(head_seconds=0.5, body_seconds=0.5, answer_seconds=1.5)
LARGE = 8 << 20
SECRET = "postgresql://mlflow:hunter2@db/x in /srv/project/guard.npz"


async def _health(request: Request) -> Response:
    return JSONResponse({})


async def _echo(request: Request) -> Response:
    return JSONResponse({"bytes": len(await request.body()), "who": who_asks(request)})


async def _large(request: Request) -> Response:
    return Response(b"x" * LARGE)


async def _stream(request: Request) -> Response:
    async def pieces() -> Any:
        for _ in range(LARGE >> 16):
            yield b"x" * (1 << 16)

    return StreamingResponse(pieces())


async def _work(request: Request) -> Response:
    await asyncio.sleep(3)
    return PlainTextResponse("done")


async def _fault(request: Request) -> Response:
    raise RuntimeError(SECRET)


def _fails() -> None:
    raise RuntimeError(SECRET)


ROUTES = {"/health": _health, "/echo": _echo, "/large": _large, "/stream": _stream, "/work": _work, "/fault": _fault}
APP = Starlette(routes=[Route(path, call, methods=["GET", "POST"]) for path, call in ROUTES.items()])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(APP, access=Access("127.0.0.1", 0, names=("mri.example.org",))) as address:
        yield address


def _connect(address: str, text: bytes = b"", buffer: int = 0) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    client = socket.socket()
    if buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(10)
    client.connect((host, int(port)))
    client.sendall(text)
    return client


def _closed(client: socket.socket) -> float:
    """Seconds until the server closes the connection, with all that it sent before read."""
    started = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while client.recv(1 << 16):
            pass
    return time.monotonic() - started


def _dropped(client: socket.socket) -> bool:
    """Whether the server has closed a connection on which it says nothing."""
    client.settimeout(0.1)
    try:
        return client.recv(10) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def _got(client: socket.socket) -> int:
    """Bytes of an answer until its end or until the connection is closed."""
    got = 0
    with contextlib.suppress(ConnectionError):
        while got < LARGE and (piece := client.recv(1 << 16)):
            got += len(piece)
    return got


def _send_slowly(client: socket.socket, piece: bytes) -> None:
    for _ in range(60):
        client.sendall(piece)
        time.sleep(0.1)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"GET /echo HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /ec",
        b"POST /echo HTTP/1.1\r\nHost: elsewhere\r\nContent-Length: 500\r\n\r\n{",
    ],
    ids=["nothing", "head", "body", "second head", "body of a refused request"],
)
def test_who_does_not_finish_a_request_is_dropped(text: bytes) -> None:
    with running(APP, limits=QUICK) as address, _connect(address, text) as client:
        assert _closed(client) < 5


def test_who_sends_a_byte_now_and_then_is_dropped_too() -> None:
    with running(APP, limits=QUICK) as address:
        for start in (b"GET /", b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n"):
            with _connect(address, start) as client, pytest.raises(ConnectionError):
                _send_slowly(client, b"a")


@pytest.mark.parametrize("path", ["/large", "/stream"])
def test_who_does_not_read_the_answer_is_dropped(path: str) -> None:
    text = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with running(APP, limits=QUICK) as address, _connect(address, text, buffer=4096) as client:
        time.sleep(4)
        with pytest.raises(ConnectionError):
            _send_slowly(client, b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize("path", ["/large", "/stream"])
def test_who_reads_slowly_gets_the_whole_answer(path: str) -> None:
    text = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    with running(APP, limits=QUICK) as address, _connect(address, text) as client:
        got = 0
        while piece := client.recv(LARGE // 40):
            got += len(piece)
            time.sleep(0.1)
    assert got > LARGE


def test_who_keeps_asking_on_one_connection_is_not_dropped() -> None:
    with running(APP, limits=QUICK) as address, requests.Session() as session:
        session.get(f"{address}/health", timeout=10)
        connection = next(iter(session.adapters["http://"].poolmanager.pools._container.values()))  # type: ignore[attr-defined]
        for _ in range(25):
            assert session.get(f"{address}/health", timeout=10).status_code == 200
            time.sleep(0.1)
        assert connection.num_connections == 1


def test_work_has_no_deadline() -> None:
    with running(APP, limits=QUICK) as address:
        assert requests.get(f"{address}/work", timeout=10).text == "done"


def test_where_there_is_no_room_the_longest_waiting_goes() -> None:
    with running(APP, limits=ConnectionLimits(connections=10)) as address, contextlib.ExitStack() as stack:
        held = [stack.enter_context(_connect(address, b"GET /")) for _ in range(10)]
        time.sleep(1.5)
        assert requests.post(f"{address}/echo", data=b"abc", timeout=10).json()["bytes"] == 3
        assert sum(map(_dropped, held)) == 1


def test_health_is_answered_where_all_are_at_work() -> None:
    with running(APP, limits=ConnectionLimits(connections=4)) as address:
        threads = [threading.Thread(target=requests.get, args=[f"{address}/work"]) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        assert requests.get(f"{address}/health", timeout=10).status_code == 200
        refused = requests.get(f"{address}/echo", timeout=10)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        for thread in threads:
            thread.join()


def test_bodies_that_arrive_may_hold_so_much_memory_together() -> None:
    limits = ConnectionLimits(body_bytes=1 << 20)
    head = f"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MOST_BYTES}\r\n\r\n".encode()
    with running(APP, limits=limits) as address, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(_connect(address, head + b" " * 400_000)) for _ in range(4)]
        time.sleep(0.5)
        assert 1 <= sum(map(_dropped, clients)) <= 3
        assert requests.get(f"{address}/health", timeout=10).status_code == 200


def test_answers_that_wait_may_hold_so_much_memory_together() -> None:
    """They are closed when they are written, not when the server next looks: that is a second later."""
    limits = ConnectionLimits(answer_bytes=12 << 20)
    text = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("app.server.drop_overdue", lambda *_: None)
        address = stack.enter_context(running(APP, limits=limits))
        clients = [stack.enter_context(_connect(address, text, buffer=4096)) for _ in range(6)]
        time.sleep(1)
        assert requests.get(f"{address}/health", timeout=10).status_code == 200
        assert sum(_got(client) < LARGE for client in clients) >= 4


def test_an_application_without_health_gets_it_and_asks_for_no_login() -> None:
    app = with_health(Starlette(routes=[Route("/echo", _echo)]), {"studio": "up"})
    with running(app, Login("a-token")) as address:
        answer = requests.get(f"{address}/health", timeout=10)
        assert (answer.status_code, answer.json()) == (200, {"studio": "up"})
        assert requests.get(f"{address}/health", headers={"Host": "evil.example.org"}, timeout=10).status_code == 400
        assert requests.get(f"{address}/echo", timeout=10).status_code == 401
        assert requests.post(f"{address}/health", timeout=10).status_code in (401, 404, 405)


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("localhost", True),
        ("LocalHost:1234", True),
        ("127.0.0.1", True),
        ("[::1]:80", True),
        ("mri.example.org", True),
        ("evil.example.org", False),
        ("mri.example.org.evil.org", False),
        ("localhost.evil.org", False),
        ("127.0.0.1.evil.org", False),
        ("evil.org@localhost", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("", False),
        ("*", False),
    ],
)
@pytest.mark.parametrize("path", ["/health", "/echo", "/nowhere"])
def test_only_own_names_are_answered(address: str, host: str, served: bool, path: str) -> None:
    answer = requests.get(address + path, headers={"Host": host}, timeout=10)
    assert (answer.status_code != 400) == served
    upgrade = {"Host": host, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert (requests.get(address + path, headers=upgrade, timeout=10).status_code != 400) == served


def test_pages_of_other_servers_are_refused(address: str) -> None:
    own = address.removeprefix("http://")
    allowed = [f"http://{own}", f"https://{own}"]
    port = int(own.split(":")[1])
    refused = [
        "http://evil.org",
        "null",
        f"http://{own}.evil.org",
        "http://127.0.0.1:1",
        f"http://localhost:{port}",
        "file:///",
        "x",
    ]
    for origin in allowed + refused:
        answer = requests.post(f"{address}/echo", headers={"Origin": origin}, timeout=10)
        assert answer.status_code == (200 if origin in allowed else 403), origin


def test_behind_a_proxy_the_page_may_have_the_public_name() -> None:
    access = Access("127.0.0.1", 0, names=("mri.example.org",), behind_proxy=True)
    with running(APP, Login(behind_proxy=True), access=access) as address:
        for origin, status in (
            ("https://mri.example.org", 200),
            ("https://mri.example.org:8443", 200),
            ("http://evil.org", 403),
        ):
            assert requests.post(f"{address}/echo", headers={"Origin": origin}, timeout=10).status_code == status
        said = requests.get(f"{address}/echo", headers={"X-Forwarded-For": "6.6.6.6, 10.1.2.3"}, timeout=10).json()
        assert said["who"] == "10.1.2.3"  # the first is the client's own word
        with _connect(address, b"GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n") as client:
            client.sendall(b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7, 10.1.2.3\r\n\r\n")
            assert b'"who":"10.1.2.3"' in b"".join(iter(lambda: client.recv(4096), b""))


def test_only_a_proxy_is_believed(address: str) -> None:
    assert requests.get(f"{address}/echo", headers={"X-Forwarded-For": "10.1.2.3"}, timeout=10).json()["who"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Encoding": "gzip"}, b"x", 415),
        ({"Content-Encoding": "br, gzip"}, b"x", 415),
        ({}, iter([b"x"]), 411),
        ({}, b"x" * (MOST_BYTES + 1), 413),
        ({}, b"x" * MOST_BYTES, 200),
    ],
)
def test_bodies_are_judged_by_their_headers(address: str, headers: dict[str, str], body: Any, status: int) -> None:
    answer = requests.post(f"{address}/echo", data=body, headers=headers, timeout=10)
    assert answer.status_code == status


def test_a_refusal_comes_before_the_body() -> None:
    with running(APP, Login("a-token")) as address:
        text = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
        with _connect(address, text) as client:
            assert client.recv(12) == b"HTTP/1.1 401"


def test_a_fault_says_nothing_of_the_server(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)  # pytest's would keep it from the log
    loggers = {name: logging.getLogger(name) for name in ("uvicorn", "asyncio", "syncmri")}
    before = {name: (logger.handlers, logger.propagate) for name, logger in loggers.items()}
    try:
        log_shortly()
        thread = threading.Thread(target=_fails)
        thread.start()
        thread.join()
        with running(APP) as address:
            for _ in range(100):
                answer = requests.get(f"{address}/fault", timeout=10)
                assert (answer.status_code, answer.text) == (500, "Internal Server Error")
                assert "server" not in answer.headers
        said = capsys.readouterr().err
        log = [line for line in said.splitlines() if "ERROR" in line]
    finally:
        for name, (handlers, propagate) in before.items():
            loggers[name].handlers, loggers[name].propagate = handlers, propagate
    assert 1 <= len(log) <= 20
    assert "Traceback" not in said
    assert "has failed: RuntimeError at tests.app.test_hosting:" in log[0]
    assert str(Path(__file__).parents[2]) not in said
    assert all("RuntimeError at" in line and "hunter2" not in line and len(line) <= 400 for line in log)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_beyond_this_machine_a_login_is_needed(host: str) -> None:
    with pytest.raises(DataError, match=r"nobody would be asked for a login.*--users FILE.*--behind-proxy"):
        open_listener(Access(host, 0), Login())
    for access, login in ((Access(host, 0), Login("token")), (Access(host, 0, behind_proxy=True), Login())):
        open_listener(access, login).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_on_this_machine_none_is(host: str) -> None:
    with running(APP, access=Access(host, 0)) as address:
        assert requests.get(f"{address}/health", headers={"Host": "localhost"}, timeout=10).status_code == 200


def test_an_address_that_cannot_be_used_is_said() -> None:
    said = r"can't be used \(Address already in use\)\. Take another one with --port"
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(DataError, match=said):
        open_listener(Access("127.0.0.1", taken.getsockname()[1]), Login())
    with pytest.raises(DataError, match="no name or address of this machine"):
        open_listener(Access("no.such.name.invalid", 0), Login())
    for name in ("*", "http://mri.example.org", "mri.example.org:8000", "a b", ""):
        with pytest.raises(DataError, match="expected a host name or address, without a port"):
            Access("127.0.0.1", 0, names=(name,))
