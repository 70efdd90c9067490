"""What Ray Tune tells as a study runs: to MLflow, and to whoever looks on."""

import sys
import time
from typing import Any

from ray import tune
from tqdm import tqdm

from mlops.connection import TrackingError, explained
from mlops.tuning.record import Runs
from mlops.tuning.results import best, line
from mlops.tuning.study import ENDED, Study

_EVERY = 5.0  # seconds between two visits to the server, at least
_SHARE = 20  # at most one part in so many of the time is spent there


class Recorder(tune.Callback):
    """Brings what has happened into MLflow now and then. A server that is down costs a warning; it gets all of it later."""

    def __init__(self, study: Study):
        self._study, self._runs = study, Runs(study)
        self._next, self._warned = 0.0, False

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune calls it several times a second."""
        started = time.monotonic()
        if started < self._next:
            return
        try:
            with explained(self._study.root):
                self._runs.bring(last=False)
        except TrackingError as error:
            if not self._warned:
                print(f"\nwarning: {error}", file=sys.stderr)
            self._warned = True
        now = time.monotonic()
        self._next = now + max(_EVERY, _SHARE * (now - started))


class Progress(tune.Callback):
    """One bar for the whole study, and a line for each trial that has ended."""

    def __init__(self, study: Study):
        self._study = study
        self._shown = {trial.number for trial in study.all_trials() if trial.state in ENDED}
        self._ended = 0
        self._bar = tqdm(total=study.trials, initial=len(self._shown), desc=study.name, unit="trial", dynamic_ncols=True)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Shows trials that have ended since the last look."""
        if (ended := sum(trial.is_finished() for trial in trials)) > self._ended:
            self._ended = ended
            self.show()

    def show(self) -> None:
        """Shows what is new."""
        found = self._study.all_trials()
        for trial in found:
            if trial.state in ENDED and trial.number not in self._shown:
                self._shown.add(trial.number)
                self._bar.update()
                self._bar.write(line(self._study, trial))
        if (leader := best(self._study, found)) is not None:
            self._bar.set_postfix_str(f"best {leader.scores['score']:.4g} ({leader.number:03d})")

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self.show()
        self._bar.close()
