"""What a stage says to MLflow: points of a training on its way, a network when it is trained, figures when they are measured.

Nothing here can stop a stage: a server that is slow or down costs a warning, and ``syncmri sync`` delivers the rest later.
"""

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Run

from mlops.connection import Tracking, TrackingError, best_effort, connect, explained
from mlops.sync import FIGURES, find_or_start, sync_figures, sync_network


class LiveRun:
    """A training on its way: points are collected and sent at most every ``every`` seconds.

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
        self._waiting += [Metric(key, float(value), now, step) for key, value in values.items() if not math.isnan(value)]
        if time.monotonic() >= self._next:
            self._flush()

    def picture(self, path: Path) -> None:
        """Send a picture of the training's present state, with the next points."""
        self._pictures.append(path)

    def close(self) -> None:
        """Send what is still waiting, unless the server was down a moment ago."""
        if self._tracking is not None or not self._warned:
            self._flush()

    def _flush(self) -> None:
        try:
            with explained(self._root):
                self._send()
        except TrackingError as error:
            if not self._warned:
                print(f"warning: {error}", file=sys.stderr)
            self._warned, self._tracking = True, None
            self._next = time.monotonic() + 6 * self.every  # a server that hangs must not slow the training down
        else:
            self._next = time.monotonic() + self.every

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
            self._tracking.client.log_artifact(self._run.info.run_id, str(self._pictures[0]), "pictures/samples")
            self._pictures.pop(0)


def record_network(root: Path, name: str) -> None:
    """Bring the trained network ``runs/NAME`` into its MLflow run. A server that is down costs a warning only.

    Raises:
        DataError: ``runs/NAME`` holds no readable ``run.json`` or ``history.csv``.
    """
    root = root.absolute()
    with best_effort(), explained(root):
        sync_network(connect(root), name)


def record_figures(root: Path, name: str) -> None:
    """Bring ``reports/figures/NAME.json`` into the runs it speaks of. A server that is down costs a warning only.

    Raises:
        DataError: there is no readable file of that name.
    """
    root = root.absolute()
    with best_effort(), explained(root):
        sync_figures(connect(root), root / FIGURES / f"{name}.json")
