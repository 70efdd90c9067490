"""Attackers on one server, all at once: ``python -m tests.app.serving.flood HOST PORT SIZE SECONDS``.

Half-open connections, slow senders and clients that never read come back as soon as they are dropped. Prints how often.
"""

import asyncio
import contextlib
import json
import resource
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from tests.app.serving.malformed import IMAGES, Bad, heart, malformed

HALF_OPEN, SLOW, UNREAD, MALFORMED = 600, 50, 50, 2000
GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),  # TLS to a plain port
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET /health HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"POST /v1/models/ddpm/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/models/ddpm/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
    b"\r\n" * 5000,
    b"\0" * 3000,
)


class Flood:
    """Attackers on ``address``. ``count`` says what became of them."""

    def __init__(self, address: tuple[str, int], size: int, seconds: float):
        self.address, self.size = address, size
        self.end = time.monotonic() + seconds
        self.count: Counter[str] = Counter()

    async def run(self) -> None:
        bad = [_message(one) for one in malformed(MALFORMED, self.size, 32)]
        bad[:: len(bad) // 200] = (GARBAGE * 20)[: len(bad[:: len(bad) // 200])]
        holders: list[Callable[[], Awaitable[None]]] = (
            [self._half_open] * HALF_OPEN + [self._slow] * SLOW + [self._unread] * UNREAD
        )
        held = [asyncio.create_task(self._again(kind)) for kind in holders]
        await asyncio.sleep(1)  # the half-open ones hold their places before the others come
        await asyncio.gather(*(self._one(message) for message in bad))
        self.count["seconds of the malformed"] = round(time.monotonic() - self.end)
        await asyncio.gather(*held)

    async def _again(self, attack: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < self.end:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.end - time.monotonic()):
                    with contextlib.suppress(OSError):
                        await attack()
                    self.count[f"{attack.__name__.strip('_')} dropped"] += 1
            await asyncio.sleep(0.2)

    async def _half_open(self) -> None:
        await self._talk([b"POST /v1/models/ddpm/images HTTP/1.1\r\nHost: localhost\r\nX: "])

    async def _slow(self) -> None:
        head = f"POST {IMAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50000\r\n\r\n"
        await self._talk([head.encode() + b" " * 20_000, *[b" "] * 1000], pause=0.3)

    async def _unread(self) -> None:
        """Large answers asked for in one go, 32 images or the same page many times; none of them is read."""
        self.count["unread"] += 1
        if self.count["unread"] % 5:
            asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200
        else:
            body = json.dumps({"masks": heart(self.size, 32).tolist(), "steps": 1}).encode()
            asked = _message(Bad("none", body))
        loop = asyncio.get_running_loop()
        with socket.socket() as mute:
            mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            mute.setblocking(False)
            await loop.sock_connect(mute, self.address)
            await loop.sock_sendall(mute, asked)
            while True:  # notices by sending that it was dropped
                await asyncio.sleep(1)
                await loop.sock_sendall(mute, b" ")

    async def _one(self, message: bytes) -> None:
        try:
            async with asyncio.timeout(60):
                answer = await self._talk([message])
            self.count[f"malformed: {answer[9:12].decode('latin1') or 'no answer'}"] += 1
        except (OSError, TimeoutError) as error:
            self.count[f"malformed: {type(error).__name__}"] += 1

    async def _talk(self, parts: Sequence[bytes], pause: float = 0) -> bytes:
        """Send the parts, then read until the server closes, or has answered."""
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                if pause:
                    await asyncio.sleep(pause)
            return await reader.read(4096)
        finally:
            writer.transport.abort()


def _message(bad: Bad) -> bytes:
    lines = [f"{bad.method} {bad.path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(bad.body)}", "Connection: close"]
    return "\r\n".join([*lines, *(f"{key}: {value}" for key, value in bad.headers.items()), "", ""]).encode() + bad.body


def main(host: str, port: str, size: str, seconds: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    flood = Flood((host, int(port)), int(size), float(seconds))
    asyncio.run(flood.run())
    print(json.dumps(flood.count))


if __name__ == "__main__":
    main(*sys.argv[1:])
