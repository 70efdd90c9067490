"""The run of the pipeline itself in MLflow: what was asked for, at which revision, and under it the trainings that it made."""

import hashlib
import io
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from ruamel.yaml import YAML

from cmr.errors import DataError
from mlops.connection import PARENT, RUN_KEY, Tracking, TrackingError, connect, explained
from mlops.release import command_for_release, label, params_for_release
from mlops.revision import revision_tags
from mlops.settings import PARAMS, load_params

KIND = "pipeline"
_OF_MLFLOW = "MLFLOW_RUN_ID"
_NO_SUCH_RUN = tuple(ErrorCode.Name(code) for code in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE))


@contextmanager
def pipeline_run(root: Path, words: Sequence[str]) -> Iterator[None]:
    """Within it, trainings of this process and of those that it starts get their MLflow runs under one run of the pipeline.

    That is the run that ``mlflow run`` has opened, if it is in the project's experiment, or else a new one. A pipeline that
    had nothing to do leaves none. A tracking server that is down costs a warning, and the run is made at the end.

    Args:
        words: what was asked of ``dvc repro``.
    """
    # Every process that sees this name and opens a run would write into the one of `mlflow run`.
    pipeline = _Pipeline(root.absolute(), words, os.environ.pop(_OF_MLFLOW, None))
    os.environ.pop(PARENT, None)  # of a pipeline that was ended before this one, in the shell or job that both began in
    with _warned():
        pipeline.open()
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        os.environ.pop(PARENT, None)
        with _warned():
            pipeline.close(status)


def run_of_mlflow(tracking: Tracking, given: str | None) -> str | None:
    """The run that `mlflow run` has opened, by its id, if it is in the project's experiment and nobody has ended it.

    A job's environment may name the run of an earlier job: that is ignored, with a line.
    """
    if given is None:
        return None
    try:
        run = tracking.client.get_run(given)
    except MlflowException as error:
        if error.error_code not in _NO_SUCH_RUN:
            raise
        state = "no run of this tracking server or database"
    else:
        if run.info.experiment_id != tracking.experiment:
            return None
        if run.info.status == "RUNNING" and run.info.lifecycle_stage == "active":
            return given
        state = "a run that has ended" if run.info.lifecycle_stage == "active" else "a run that was deleted"
    print(f"{_OF_MLFLOW} names {state} ({given[:40]}): it is ignored.", file=sys.stderr)
    return None


class _Pipeline:
    def __init__(self, root: Path, words: Sequence[str], given: str | None):
        self._root, self._words, self._given = root, words, given
        self._started = int(time.time() * 1000)
        self._before = _made(root)
        self._run_id: str | None = None

    def open(self) -> Tracking:
        with explained(self._root):
            tracking = connect(self._root)
            if self._run_id is None:
                self._run_id = self._adopted(tracking) or self._created(tracking)
                os.environ[PARENT] = self._run_id
        return tracking

    def close(self, status: str) -> None:
        with explained(self._root):
            tracking = self.open()
            assert self._run_id is not None
            if self._run_id != self._given and status == "FINISHED" and _made(self._root) == self._before:
                tracking.client.delete_run(self._run_id)
                return
            self._take_in(tracking)
            # Many may read what MLflow holds: nothing with a scan, a patient or a path of this machine goes there.
            tracking.client.log_text(self._run_id, _params_text(self._root), PARAMS)
            for name in ("metrics.json", "report.html"):
                if status == "FINISHED" and (path := self._root / "reports/release" / name).is_file():
                    tracking.client.log_artifact(self._run_id, str(path))
            if self._run_id != self._given:  # `mlflow run` ends its own
                tracking.client.set_terminated(self._run_id, status)

    def _adopted(self, tracking: Tracking) -> str | None:
        """The run of ``mlflow run``, which without ``--experiment-name`` is in another experiment and can't hold ours."""
        self._given = run_of_mlflow(tracking, self._given)
        if self._given is None:
            return None
        # `mlflow run` names the project by its full path.
        for key, text in {"mlflow.source.name": "MLproject", **self._tags()}.items():
            tracking.client.set_tag(self._given, key, text)
        return self._given

    def _created(self, tracking: Tracking) -> str:
        name = f"{KIND} {_profile(self._root)}"
        return str(tracking.client.create_run(tracking.experiment, self._started, self._tags(), name).info.run_id)

    def _tags(self) -> dict[str, str]:
        asked = f"dvc repro {command_for_release(self._words)}".strip()
        return {"kind": KIND, "command": asked, "profile": _profile(self._root), **revision_tags(self._root)}

    def _take_in(self, tracking: Tracking) -> None:
        """Trainings that got their run while this one could not be made."""
        for run in tracking.client.search_runs([tracking.experiment], f"attributes.start_time >= {self._started}"):
            if RUN_KEY in run.data.tags and "mlflow.parentRunId" not in run.data.tags:
                tracking.client.set_tag(run.info.run_id, "mlflow.parentRunId", self._run_id)


def _profile(root: Path) -> str:
    return label(load_params(root).get("profile"))


def _params_text(root: Path) -> str:
    """``params.yaml`` without the places of raw data and without patients."""
    text = io.StringIO()
    text.write("# A copy without the places of raw data, without patients and without comments.\n")
    YAML().dump(params_for_release(load_params(root)), text)
    return text.getvalue()


def _made(root: Path) -> str:
    """Changes with every stage that has run."""
    lock = root / "dvc.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else ""


@contextmanager
def _warned() -> Iterator[None]:
    try:
        yield
    except TrackingError as error:
        print(f"warning: {error}", file=sys.stderr)
    except DataError:  # params.yaml is missing or broken, which the pipeline itself tells best
        return
