"""A relay before a real server, over which answers come late or not at all."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Relay:
    """Passes connections on to a port of this machine.

    Attributes:
        delay: seconds that each part of an answer is held back.
        lose: called with each request's first bytes; where it says so, the request is delivered and its answer is lost.
        up: while False, nobody can connect.
        refused: how many have tried meanwhile.
    """

    def __init__(self, port: int):
        self.delay = 0.0
        self.lose = lambda request: False
        self.up, self.refused = True, 0
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self.up:
                self.refused += 1
                client.close()
                continue
            with suppress(OSError):
                target = socket.create_connection(("127.0.0.1", self._port))
                lost = threading.Event()
                threading.Thread(target=self._requests, args=(client, target, lost), daemon=True).start()
                threading.Thread(target=self._answers, args=(target, client, lost), daemon=True).start()

    def _requests(self, client: socket.socket, target: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while self.up and (block := client.recv(65536)):
                if self.lose(block):
                    lost.set()
                target.sendall(block)
        _shut(client, target)

    def _answers(self, target: socket.socket, client: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while (block := target.recv(65536)) and self.up and not lost.is_set():
                time.sleep(self.delay)
                client.sendall(block)
        _shut(client, target)


def _shut(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay(uri: str) -> Iterator[Relay]:
    """A relay to the server at ``uri``."""
    made = Relay(int(uri.rpartition(":")[2]))
    try:
        yield made
    finally:
        made.close()
