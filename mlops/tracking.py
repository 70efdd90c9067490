"""What a stage says to MLflow: points of a training on its way, a network when it is trained, figures when they are measured.

Nothing here can stop a stage: a server that is slow or down costs a warning and little time, and ``syncmri sync`` delivers the
rest later.
"""

import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Run

from cmr.files import whole_file
from mlops.connection import Tracking, TrackingError, connect, explained
from mlops.records import FIGURES, read_figures, read_json, speaks_of
from mlops.release import DRAWN_STEPS
from mlops.sync import NO_CURVES, find_or_start, sync_figures, sync_network

_SHARE = 20
"""A training gives at most one part in so many of its time to MLflow, and all stages together do to a server that is down."""
_DOWN = Path(".syncmri", "mlflow.down")  # holds until when nobody needs to try again


class LiveRun:
    """A training on its way: points are collected and sent at most every ``every`` seconds, less often to a slow server.

    Points that are in MLflow already, as after a resume, are not sent again. What could not be delivered is brought in by
    :func:`record_network` at the end.

    Args:
        root: the project folder.
        about: ``run.json`` as far as it is known before the training: name, kind, run_key, params, data, seed.
    """

    def __init__(self, root: Path, about: Mapping[str, Any], *, every: float = 10.0):
        self.every = every
        self._root, self._about = root.absolute(), about
        self._waiting: list[Metric] = []
        self._pictures: list[Path] = []
        self._sent: set[tuple[str, int]] = set()
        self._tracking: Tracking | None = None
        self._run: Run | None = None
        self._next = 0.0
        self._warned = False

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Note one point of each curve; NaN means that there is none."""
        now = int(time.time() * 1000)
        curves = {key: float(value) for key, value in values.items() if key not in NO_CURVES and not math.isnan(value)}
        self._waiting += [Metric(key, value, now, step) for key, value in curves.items()]
        if time.monotonic() >= self._next:
            self._flush()

    def picture(self, path: Path) -> None:
        """Send a picture of what the network draws at present, with the next points. It must show no real slice."""
        self._pictures.append(path)

    def close(self) -> None:
        """Send what is still waiting, unless the server was down a moment ago."""
        if self._tracking is not None or not self._warned:
            self._flush()

    def _flush(self) -> None:
        started = time.monotonic()
        try:
            with explained(self._root):
                self._send()
        except TrackingError as error:
            if not self._warned:
                print(f"warning: {error}", file=sys.stderr)
            self._warned, self._tracking = True, None
        pause = 6 * self.every if self._tracking is None else self.every
        now = time.monotonic()
        self._next = now + max(pause, _SHARE * (now - started))

    def _send(self) -> None:
        if self._tracking is None or self._run is None:
            tracking = connect(self._root)
            self._run = find_or_start(tracking, self._about, int(time.time() * 1000))
            self._sent = tracking.points(self._run, list(self._run.data.metrics))
            self._tracking = tracking
        new = [point for point in self._waiting if (point.key, point.step) not in self._sent]
        self._tracking.log(self._run, new)
        self._sent |= {(point.key, point.step) for point in new}
        self._waiting = []
        while self._pictures:
            self._tracking.client.log_artifact(self._run.info.run_id, str(self._pictures[0]), f"pictures/{DRAWN_STEPS}")
            self._pictures.pop(0)


def record_network(root: Path, name: str) -> None:
    """Bring the trained network ``runs/NAME`` into its MLflow run. A server that is down costs a warning only.

    Raises:
        DataError: ``runs/NAME`` holds no readable ``run.json`` or ``history.csv``.
    """
    root = root.absolute()
    _deliver(root, lambda: sync_network(connect(root), name))


def record_figures(root: Path, name: str) -> None:
    """Bring the networks that ``reports/figures/NAME.json`` speaks of up to date in MLflow. A server that is down costs a
    warning only.

    Raises:
        DataError: there is no readable file of that name.
    """
    root = root.absolute()

    def send() -> None:
        tracking, files = connect(root), read_figures(root)
        for network in speaks_of(root, read_json(root / FIGURES / f"{name}.json")):
            sync_figures(tracking, network, files)

    _deliver(root, send)


def _deliver(root: Path, send: Callable[[], object]) -> None:
    """Do it, or warn. Stages that follow one that waited for a server in vain do not all wait as long."""
    down = root / _DOWN
    until = float(down.read_text()) if down.is_file() else 0.0
    if time.time() < until:
        print("warning: MLflow could not be used a moment ago; `syncmri sync` brings this stage in later.", file=sys.stderr)
        return
    started = time.time()
    try:
        with explained(root):
            send()
    except TrackingError as error:
        print(f"warning: {error}", file=sys.stderr)
        down.parent.mkdir(exist_ok=True)
        with whole_file(down) as temporary:
            temporary.write_text(str(time.time() + _SHARE * (time.time() - started)))
    else:
        down.unlink(missing_ok=True)
