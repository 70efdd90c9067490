"""One trial as Ray Tune runs it: a process of its own in the trial's folder, watched from outside.

The process runs the training stage's own job. As it is a process, a trial that hangs can be ended, one that crashes takes
nothing with it, and each has its own working directory and parameters.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from ray import tune

from mlops.tuning.study import ENTRIES, FAILED

LOG = "log.txt"
_CODE = Path(__file__).resolve().parents[2]
_PAUSE = 0.2  # seconds between two looks


class Supervised(tune.Trainable):
    """Starts the process, tells Tune each validation, and ends the process with the trial.

    A process that ends with an error has failed for good. One that was killed, or whose node is gone, is started again by Tune
    and goes on from the training's last state.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """``config``: ``network``, ``objectives``, ``folder`` and ``number`` of the trial, and ``silence`` in seconds."""
        self._folder, self._silence = Path(config["folder"]), float(config["silence"])
        told = self._folder / ENTRIES
        told.touch()
        self._told: IO[str] = told.open()
        self._told.seek(0, os.SEEK_END)  # what an earlier process told is known
        self._cut = ""
        path = os.pathsep.join([str(_CODE), *filter(None, [os.environ.get("PYTHONPATH")])])
        with (self._folder / LOG).open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "pipelines.trial", config["network"], *config["objectives"]],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def step(self) -> dict[str, Any]:
        """The next validation, or how the trial ended."""
        heard = time.monotonic()
        while True:
            ended = self._child.poll()  # looked at first: what it told last is then read below
            while (entry := self._next()) is not None:
                heard = time.monotonic()
                if "outcome" in entry:
                    return {**entry, "done": True}
                if entry.get("score") is not None:
                    return entry
            if ended is not None and ended < 0:
                raise RuntimeError(f"{self._folder}: killed by signal {-ended}")
            if ended is not None:
                return _failed(f"ended with status {ended}: see {self._folder / LOG}")
            if time.monotonic() - heard > self._silence:
                self.cleanup()
                return _failed(f"no sign of life for {self._silence / 60:g} minutes: taken for hanging, and ended")
            time.sleep(_PAUSE)

    def cleanup(self) -> None:
        """Ends the process."""
        self._child.kill()
        self._child.wait()

    def _next(self) -> dict[str, Any] | None:
        """The next whole line that the process has told, or None."""
        self._cut += self._told.readline()
        if not self._cut.endswith("\n"):
            return None
        line, self._cut = self._cut, ""
        return json.loads(line)


def _failed(error: str) -> dict[str, Any]:
    return {"outcome": FAILED, "error": error, "done": True}
