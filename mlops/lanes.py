"""Parts of the pipeline that need nothing of one another, side by side: DVC itself runs one stage at a time.

Small networks leave cores idle, and dozens of stages spend seconds on their imports. So each generator's stages go down a lane
of their own, a DVC process with its share of the cores. A cluster has room for more: there each stage is a lane of its own, as
soon as what it needs is there. What comes out is the same.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from pathlib import Path
from typing import IO

Lanes = dict[str, list[str]]
"""Name of a lane to its stages, each after those that it needs."""

THREADS = "OMP_NUM_THREADS"
COHORT = "cohort"  # what all lanes stand on
_MASKS = ("train_masks", "sample_masks")


def phases(needs: Mapping[str, set[str]], generators: Sequence[str]) -> list[Lanes]:
    """Lanes that may run side by side, phase after phase. What they need beyond one another comes before the first
    (``COHORT``), what is left over after the last: both are for a plain repro.

    Args:
        needs: every stage, a matrix's items as ``train@ddpm``, to the stages whose outputs it reads.
        generators: ``generators.names``.
    """
    drawn = [stage for stage in needs if stage in _MASKS]
    real = [stage for stage in needs if stage == "features" or re.fullmatch(r"(segment|score)@\w+-real", stage)]
    of = {name: [stage for stage in needs if _belongs(stage, name)] for name in generators}
    of["masks"] = [stage for stage in needs if "masks" in stage.split("_") and stage not in _MASKS]
    own = {name: [stage for stage in lane if not _needs_others(stage, name, of, needs)] for name, lane in of.items()}
    found = [{"masks": drawn, "real": real}, own]
    order = list(TopologicalSorter(needs).static_order())
    return [
        {name: sorted(lane, key=order.index) for name, lane in lanes.items() if lane} for lanes in found if any(lanes.values())
    ]


def _belongs(stage: str, generator: str) -> bool:
    return re.search(rf"(^|-){re.escape(generator)}(-|$)", stage.partition("@")[2]) is not None


def _needs_others(stage: str, lane: str, lanes: Lanes, needs: Mapping[str, set[str]]) -> bool:
    """Whether a stage stands on another lane's, as those that bring all together do."""
    others = {one for name, stages in lanes.items() if name != lane for one in stages}
    known, new = {stage}, {stage}
    while new:
        new = {before for one in new for before in needs[one]} - known
        known |= new
    return bool(known & others)


def run_lanes(root: Path, lanes: Lanes, cores: int, environment: Mapping[str, str]) -> int:
    """Bring the stages of all lanes up to date at once; each line says whose it is.

    More lanes than cores share them, so that none waits for the longest. A lane that stops does not stop the others: their work
    is needed all the same. Ctrl-C reaches every DVC process by itself.

    Returns:
        0, or the exit status of a lane that stopped.
    """
    shared = {THREADS: str(max(1, cores // len(lanes))), **environment}
    screen = _Screen()
    with ThreadPoolExecutor(len(lanes)) as pool:  # on Ctrl-C too it waits for all
        running = [pool.submit(_run_lane, root, name, stages, shared, screen) for name, stages in lanes.items()]
        states = [lane.result() for lane in running]
    screen.close()
    return next((state for state in states if state), 0)


def run_stages(root: Path, needs: Mapping[str, set[str]], room: int, cores: int, environment: Mapping[str, str]) -> int:
    """Bring every stage up to date as soon as those that it needs are, at most ``room`` at once; each line says whose it is.

    What needs a stage that stopped is not begun; everything else is, as for :func:`run_lanes`.

    Args:
        needs: the stages to run, and what each needs of the others.
        cores: of this machine, on which the stages share what they do not give to the cluster.
    """
    shared = {THREADS: str(max(1, cores // room)), **environment}
    screen, status = _Screen(max(map(len, needs), default=0)), 0
    order: TopologicalSorter[str] = TopologicalSorter(needs)
    order.prepare()
    running: dict[Future[int], str] = {}
    with ThreadPoolExecutor(room) as pool:
        while True:
            running |= {pool.submit(_run_lane, root, stage, [stage], shared, screen): stage for stage in order.get_ready()}
            if not running:  # all is done, or waits for what stopped
                break
            for one in wait(running, return_when=FIRST_COMPLETED).done:
                stage = running.pop(one)
                if one.result() == 0:
                    order.done(stage)
                status = status or one.result()
    screen.close()
    return status


def dvc(*words: str) -> list[str]:
    """The command line of DVC, by this Python."""
    return [sys.executable, "-m", "dvc", *words]


def _run_lane(root: Path, name: str, targets: Sequence[str], environment: Mapping[str, str], screen: "_Screen") -> int:
    # A repro locks what it checks, so that no lane may check the stages before its own; short locks are waited for.
    command = dvc("--wait-for-lock", "repro", "--single-item", *targets)
    process = subprocess.Popen(command, cwd=root, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    screen.follow(name, process.stdout)
    return process.wait()


class _Screen:
    """Whole lines of all lanes with the lane's name before them; at a terminal, below them, each lane's progress bar."""

    def __init__(self, width: int = 6) -> None:
        self._width = width
        self._lock = threading.Lock()
        self._bars: dict[str, str] = {}
        self._shown = 0
        self._live = sys.stdout.isatty()

    def follow(self, name: str, stream: IO[bytes]) -> None:
        """Show what comes out of a lane until it ends. Bars end in a carriage return, and only lines are kept."""
        part = b""
        while block := os.read(stream.fileno(), 65536):
            *whole, part = re.split(rb"(?<=[\r\n])", part + block)
            for line in whole:
                text = line.decode(errors="replace").rstrip()
                if line.endswith(b"\n"):
                    self._line(name, text)
                elif text:
                    self._bar(name, text)
        if part.strip():
            self._line(name, part.decode(errors="replace").rstrip())
        self._bar(name, None)

    def close(self) -> None:
        with self._lock:
            self._clear()

    def _line(self, name: str, text: str) -> None:
        text = text.rpartition("\r")[2]
        if text.strip():
            with self._lock:
                self._clear()
                print(f"{name:<{self._width}} {text}", flush=True)
                self._draw()

    def _bar(self, name: str, text: str | None) -> None:
        with self._lock:
            self._clear()
            self._bars.pop(name, None)
            if text:
                self._bars[name] = text
            self._draw()

    def _clear(self) -> None:
        if self._live and self._shown:
            sys.stdout.write("\x1b[F\x1b[2K" * self._shown)
        self._shown = 0

    def _draw(self) -> None:
        if self._live:
            width = os.get_terminal_size().columns
            for name, text in self._bars.items():
                sys.stdout.write(f"{name:<{self._width}} {text}"[: width - 1] + "\n")
            self._shown = len(self._bars)
            sys.stdout.flush()
