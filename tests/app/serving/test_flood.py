"""A server under a flood: 2,000 malformed, 600 half-open, 50 slow and 50 never-reading clients at once."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests

from tests.app.approved_project import SIZE
from tests.app.serving.flood import MALFORMED
from tests.app.serving.malformed import IMAGES, heart

REPOSITORY = Path(__file__).parents[3]
SECONDS = 25
FEW_FILES = 1024  # the usual soft limit of file descriptors


@dataclass
class Served:
    address: str
    process: psutil.Process
    log: Path


@contextlib.contextmanager
def serving(project: Path, words: list[str], log: Path) -> Iterator[Served]:
    """``syncmri WORDS`` in a process of its own, at a free port, while it answers there."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("SYNCMRI_TOKEN", None)  # without a login, attackers come as far as anybody

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "app.cli", *words, "--port", "0"],
            cwd=project,
            env=environment,
            stdout=output,
            stderr=output,
            preexec_fn=few_files,
        ) as server,
    ):
        try:
            deadline = time.monotonic() + 120
            while "running on" not in (said := log.read_text()):
                assert server.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.1)
            line = next(line for line in said.splitlines() if "running on" in line)
            address = next(word for word in line.split() if word.startswith("http://"))
            yield Served(address, psutil.Process(server.pid), log)
        finally:
            server.terminate()
            assert server.wait(30) == 0


@dataclass
class Watched:
    """What a thread sees of a server: seconds of each answer of /health, and the largest memory."""

    server: Served
    latencies: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    memory: int = 0

    def watch(self, stop: threading.Event) -> None:
        while not stop.is_set():
            started = time.monotonic()
            try:
                answer = requests.get(f"{self.server.address}/health", timeout=10)
                if answer.status_code != 200:
                    self.faults.append(f"{answer.status_code} {answer.text[:100]}")
            except requests.RequestException as error:
                self.faults.append(repr(error)[:200])
            self.latencies.append(time.monotonic() - started)
            self.memory = max(self.memory, self.server.process.memory_info().rss)
            stop.wait(0.05)


@contextlib.contextmanager
def flooded(server: Served, watched: Watched) -> Iterator[dict[str, int]]:
    """Within it the flood runs; what became of the attackers is in the dictionary at the end."""
    stop, counted = threading.Event(), dict[str, int]()
    thread = threading.Thread(target=watched.watch, args=[stop])
    host, port = server.address.removeprefix("http://").split(":")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.app.serving.flood", host, port, str(SIZE), str(SECONDS)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as attackers:
        thread.start()
        try:
            yield counted
            counted |= json.loads(attackers.communicate(timeout=SECONDS + 60)[0])
        finally:
            attackers.kill()
            stop.set()
            thread.join()


def _ask_until_served(address: str) -> float:
    """Seconds until a picture is drawn for somebody who comes again when told to."""
    started = time.monotonic()
    asked = {"masks": heart(SIZE, 2).tolist(), "steps": 2}
    while (answer := requests.post(address + IMAGES, json=asked, timeout=60)).status_code == 429:
        time.sleep(1)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["images"]) == 2
    return time.monotonic() - started


@pytest.mark.slow
def test_the_rest_server_stays_up_in_a_flood(approved_project: Path, tmp_path: Path) -> None:
    with serving(approved_project, ["serve", "--model", "ddpm", "--model", "masks"], tmp_path / "log") as server:
        _ask_until_served(server.address)  # what it needs to draw is loaded by now
        memory, log = server.process.memory_info().rss, server.log.stat().st_size
        watched = Watched(server)
        with flooded(server, watched) as counted:
            time.sleep(2)
            served = [_ask_until_served(server.address) for _ in range(3)]
        said = f"{counted}, served in {served}, slowest {sorted(watched.latencies)[-3:]} of {len(watched.latencies)}, "
        said += (
            f"{(watched.memory - memory) / 1e6:.0f} MB, log {server.log.stat().st_size - log}: {server.log.read_text()[-2000:]}"
        )
        print(said)
        assert watched.faults == [], said
        assert max(watched.latencies) < 2, said
        assert len(watched.latencies) > SECONDS, said
        assert watched.memory - memory < 300e6, said
        assert server.log.stat().st_size - log < 1e6, said
        answered = sum(count for what, count in counted.items() if what.startswith("malformed: ") and what[11:].isdigit())
        assert answered > MALFORMED / 2, said
        assert counted.get("half_open dropped", 0) > 0, said
        assert counted.get("unread dropped", 0) > 0, said
        assert not any(what.startswith("malformed: 5") for what in counted), said
        assert _ask_until_served(server.address) < 30
