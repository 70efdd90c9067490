"""A study in MLflow: a run, and under it a run a trial with its values, its curves and how it ended.

One process writes, the one that runs the study, from what is on disk. So everything can be brought in again: after a kill,
after a server that was down, or into a new database (``syncmri sync``). Only what is missing is added.
"""

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Metric, Run

from mlops.connection import Tracking, TrackingError, connect, explained, flat
from mlops.pipeline_run import run_of_mlflow
from mlops.release import DRAWN, error_for_release
from mlops.revision import revision_tags
from mlops.settings import load_params
from mlops.tuning.results import best, counts
from mlops.tuning.studies import studies
from mlops.tuning.study import ENDED, ENTRIES, FAILED, FINISHED, STOPPED, Study, Trial, unfinished

TRIALS = "trials.csv"
CURVES = ("train_loss", "validation", "learning_rate", "seconds")
_ENDS = {FINISHED: "FINISHED", STOPPED: "FINISHED", FAILED: "FAILED"}


def sync_studies(root: Path) -> int:
    """Bring every study of the project into MLflow; returns how many there are.

    Raises:
        TrackingError: server or database cannot be used.
    """
    found = studies(root)
    with explained(root):
        for study in found:
            Runs(study).bring(last=True)
    return len(found)


def bring(study: Study) -> None:
    """Bring a study into MLflow as it stands; a server that is down costs a warning."""
    try:
        with explained(study.root):
            Runs(study).bring(last=True)
    except TrackingError as error:
        print(f"warning: {error}", file=sys.stderr)


class Runs:
    """The MLflow runs of one study. What was sent by this object is not asked for again."""

    def __init__(self, study: Study):
        self._study, self._key = study, f"sweep/{study.name}/{study.created:.3f}"
        self._parent: str | None = None
        self._open: dict[int, Run] = {}
        self._sent: dict[int, set[tuple[str, int]]] = {}
        self._done: set[int] = set()
        self._seen: list[tuple[Any, ...]] = []

    def bring(self, *, last: bool) -> None:
        """Bring in what is new; ``last``: nothing follows for now, and if no trial is left the study's run ends.

        Raises:
            Whatever a server that is down makes of it, see :func:`mlops.connection.explained`. The next call goes on.
        """
        trials = self._study.all_trials()
        seen = [(trial.number, trial.state, trial.reached, _told(self._study, trial)) for trial in trials]
        if seen == self._seen and not last:
            return
        tracking = connect(self._study.root)
        parent = self._parent or self._start(tracking)
        for trial in trials:
            if trial.number not in self._done:
                self._bring_trial(tracking, parent, trial)
        self._seen = seen
        if last:
            self._close(tracking, parent, trials)

    def _start(self, tracking: Tracking) -> str:
        study = self._study
        # Taken away: else every process that opens a run would write into that one.
        above = run_of_mlflow(tracking, os.environ.pop("MLFLOW_RUN_ID", None))
        run = tracking.find_or_create(self._key, f"sweep {study.name}", int(1000 * study.created), parent=above)
        asked = flat({"metric": study.search.metric, "objectives": list(study.objectives), "trials": study.trials})
        asked |= {f"space.{key}": _words(domain) for key, domain in study.search.space.items()}
        asked |= {"max_steps": str(study.search.max_steps), "seed": str(study.seed)}
        tracking.log(run, params={key: text for key, text in asked.items() if key not in run.data.params})
        if "kind" not in run.data.tags:
            profile = str(load_params(study.folder).get("profile"))
            tags = {"kind": "sweep", "study": study.name, "network": study.network, "profile": profile}
            tracking.log(run, tags=tags | revision_tags(study.root))
        if run.info.status != "RUNNING" and unfinished(study):  # it goes on
            tracking.client.update_run(run.info.run_id, "RUNNING")
        self._parent = str(run.info.run_id)
        return self._parent

    def _bring_trial(self, tracking: Tracking, parent: str, trial: Trial) -> None:
        study, number = self._study, trial.number
        if number not in self._open:
            name, started = f"{study.name}/{number:03d}", int(1000 * trial.started)
            run = self._open[number] = tracking.find_or_create(f"{self._key}/{number:03d}", name, started, parent=parent)
            self._sent[number] = tracking.points(run, CURVES)
        run, sent = self._open[number], self._sent[number]
        values = flat(trial.values)
        tracking.log(run, params={key: text for key, text in values.items() if key not in run.data.params})
        new = [point for point in _curves(study, trial) if (point.key, point.step) not in sent]
        tracking.log(run, new)
        sent |= {(point.key, point.step) for point in new}
        if "kind" not in run.data.tags or trial.state in ENDED:
            tags = {"kind": "trial", "study": study.name, "network": study.network, "trial": str(number), "state": trial.state}
            tracking.log(run, tags=tags | ({"error": error_for_release(trial.error)} if trial.error else {}))
        self._open[number] = tracking.client.get_run(run.info.run_id)
        if trial.state in ENDED:
            self._end_trial(tracking, run, trial)

    def _end_trial(self, tracking: Tracking, run: Run, trial: Trial) -> None:
        ended = int(1000 * (trial.ended or time.time()))
        there = {key for key in trial.scores if key in run.data.metrics}
        tracking.log(run, [Metric(key, value, ended, 0) for key, value in trial.scores.items() if key not in there])
        pictures = self._study.trial_folder(trial.number) / "runs" / self._study.network / DRAWN
        if run.info.status == "RUNNING" and pictures.is_file():
            tracking.client.log_artifact(run.info.run_id, str(pictures), "pictures")
        if run.info.status != _ENDS[trial.state]:
            tracking.client.set_terminated(run.info.run_id, _ENDS[trial.state], ended)
        self._done.add(trial.number)

    def _close(self, tracking: Tracking, parent: str, trials: Iterable[Trial]) -> None:
        run, found = tracking.client.get_run(parent), best(self._study, list(trials))
        if run.info.status != "RUNNING":
            return
        now = int(1000 * time.time())
        figures = {f"trials/{state.replace(' ', '_')}": float(count) for state, count in counts(list(trials)).items()}
        if found is not None:
            figures |= {f"best/{key}": value for key, value in found.scores.items()}
        new = {key: value for key, value in figures.items() if run.data.metrics.get(key) != value}
        tracking.log(run, [Metric(key, value, now, 0) for key, value in new.items()])
        if found is not None:
            tracking.log(run, tags={"best": f"{self._study.name}/{found.number:03d}"})
        for path in sorted(self._study.report.glob("*")):
            if path.name == TRIALS:
                tracking.client.log_text(parent, _without_messages(path), f"report/{TRIALS}")
            else:
                tracking.client.log_artifact(parent, str(path), "report")
        if not unfinished(self._study):
            tracking.client.set_terminated(parent, "FINISHED")


def _without_messages(trials: Path) -> str:
    """The table of the trials; of an error only its kind, since a message may name files and patients."""
    table = pd.read_csv(trials, dtype=str, keep_default_na=False)
    return table.assign(error=table["error"].map(error_for_release)).to_csv(index=False)


def _told(study: Study, trial: Trial) -> int:
    path = study.trial_folder(trial.number) / ENTRIES
    return path.stat().st_size if path.is_file() else 0


def _curves(study: Study, trial: Trial) -> list[Metric]:
    points = []
    for entry in study.told(trial):
        when = int(1000 * (trial.started + entry["seconds"]))
        points += [Metric(key, float(entry[key]), when, entry["step"]) for key in CURVES if key in entry]
    return points


def _words(domain: Any) -> str:
    if domain.choices is not None:
        return f"one of {list(domain.choices)}"
    return f"{domain.low} to {domain.high}{', logarithmic' if domain.log else ''}"
