"""MLflow, seen through the few things that the platform does with it: connect, find or create a run, add what is missing.

The database is ``mlflow.db`` in the project folder unless ``MLFLOW_TRACKING_URI`` says otherwise. A run is found by the tag
``syncmri.run_key``, never by a run id kept on disk, so that an identical retraining or a restored cache changes nothing.
"""

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from filelock import FileLock
from mlflow.entities import Experiment, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from cmr.errors import DataError, without_secrets
from mlops.causes import AddressError, cause_of, check_address, last_line
from mlops.moved import ARTIFACTS, artifacts_beside, follow_the_folder
from mlops.private import share_with_group
from mlops.settings import section

RUN_KEY = "syncmri.run_key"
PARENT = "SYNCMRI_PARENT_RUN_ID"
LONGEST_PARAM = 500
_METRICS_A_BATCH, _OTHERS_A_BATCH = 1000, 100  # limits of mlflow's log_batch
_LOCK_SECONDS = 60.0
# requests' errors and a lock's timeout are OSErrors; a client of an object store that is not installed is an ImportError
_UNAVAILABLE = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError, AddressError)
_STORES = ("botocore", "boto3", "google", "azure")  # clients of object stores, whose errors have no other type in common
_NOISY = ("alembic", "mlflow.store.db.utils", "mlflow.utils.rest_utils", "urllib3.connectionpool")


class TrackingError(DataError):
    """The tracking server or database cannot be used now. Nothing is lost: ``syncmri sync`` delivers it later.

    Attributes:
        way_out: what to do about it; empty where the message says all.
    """

    def __init__(self, message: str = "", way_out: str = ""):
        super().__init__(message)
        self.way_out = way_out


@dataclass(frozen=True)
class Tracking:
    """A connection: client, the experiment's id, and the project folder."""

    client: MlflowClient
    experiment: str
    root: Path

    def find(self, run_key: str) -> Run | None:
        """The run with that key, or None. Of several it is the same one for everybody who asks."""
        return next(iter(self._all(run_key)), None)

    def find_or_create(self, run_key: str, name: str, started_ms: int, parent: str | None = None) -> Run:
        """The run with that key, restored if somebody has deleted it; if there is none it is created, under the run ``parent``
        or else under the run ``SYNCMRI_PARENT_RUN_ID`` if that is set."""
        parent = parent or os.environ.get(PARENT)
        with _lock(self.root):
            run = self.find(run_key) or self._restored(run_key)
            if run is None:
                above = {"mlflow.parentRunId": parent} if parent else {}
                self.client.create_run(self.experiment, started_ms, {RUN_KEY: run_key, **above}, name)
                # Another machine, or a request that was sent again as its answer got lost, may have made one as well.
                run, *others = self._all(run_key)
                for other in others:
                    if not other.data.metrics and not other.data.params:
                        self.client.delete_run(other.info.run_id)
        return run

    def _restored(self, run_key: str) -> Run | None:
        """A deleted run with that key, back again: a registered version may stand on its files."""
        for run in self._all(run_key, ViewType.DELETED_ONLY):
            self.client.restore_run(run.info.run_id)
            return self.client.get_run(run.info.run_id)
        return None

    def _all(self, run_key: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
        order = ["attributes.start_time ASC"]  # then by run id
        return list(
            self.client.search_runs([self.experiment], f"tags.`{RUN_KEY}` = '{run_key}'", view, max_results=10, order_by=order)
        )

    def points(self, run: Run, names: Iterable[str]) -> set[tuple[str, int]]:
        """(metric, step) of everything that the run holds of the metrics ``names``."""
        run_id = run.info.run_id
        known = [name for name in names if name in run.data.metrics]
        return {(name, point.step) for name in known for point in self.client.get_metric_history(run_id, name)}

    def log(
        self,
        run: Run,
        metrics: Iterable[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write in batches that mlflow accepts."""
        run_id = run.info.run_id
        for some_params in _batches([Param(*pair) for pair in (params or {}).items()], _OTHERS_A_BATCH):
            self.client.log_batch(run_id, params=some_params)
        for some_tags in _batches([RunTag(*pair) for pair in (tags or {}).items()], _OTHERS_A_BATCH):
            self.client.log_batch(run_id, tags=some_tags)
        for some_metrics in _batches(list(metrics), _METRICS_A_BATCH):
            self.client.log_batch(run_id, metrics=some_metrics)


def tracking_uri(root: Path) -> str:
    """``MLFLOW_TRACKING_URI``, or else the SQLite database in the project folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.absolute() / 'mlflow.db'}"


def connect(root: Path) -> Tracking:
    """A connection for the project at ``root``; creates database and experiment where they are missing.

    Raises:
        TrackingError: server or database cannot be used.
        DataError: params.yaml has no valid ``tracking.experiment``.
    """
    name = section("tracking.experiment", str, root)
    with explained(root), _quiet():
        check_address(tracking_uri(root))
        share_with_group(root)
        with _lock(root):  # processes that create one new SQLite database at the same time break it for good
            follow_the_folder(tracking_uri(root), name)
            client = MlflowClient(tracking_uri(root))
            experiment = client.get_experiment_by_name(name) or _create_experiment(client, name, root)
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(experiment.experiment_id)
            share_with_group(root)  # the database may be new
        return Tracking(client, experiment.experiment_id, root)


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Turn whatever a tracking server that is down or broken can raise into :class:`TrackingError`, by its cause."""
    try:
        yield
    except Exception as error:  # MLflow's stores raise classes of many packages; others are raised again below
        if not (isinstance(error, _UNAVAILABLE) or type(error).__module__.partition(".")[0] in _STORES):
            raise
        cause = cause_of(error)
        raise TrackingError(
            f"MLflow at {tracking_uri(root)} {cause.what} ({last_line(error)}). {cause.way_out} Training and "
            "figures are safe on disk; `syncmri sync` brings them in afterwards.",
            cause.way_out,
        ) from error


def refuse_local_artifacts(tracking: Tracking, artifact_uri: str) -> None:
    """Refuse to write artifacts to a folder of this machine that a server names: who can change the server could choose it.

    Raises:
        DataError: the tracking server is another one than this project's database, and the place is a local path.
    """
    scheme = urlparse(artifact_uri).scheme
    if tracking_uri(tracking.root).startswith("http") and scheme in ("", "file"):
        raise DataError(
            f"MLflow at {without_secrets(tracking_uri(tracking.root))} names a folder of this machine as a place of artifacts; "
            "nothing is written there. Start the server with --artifacts-destination, or find out who made that experiment."
        )


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters as dotted key -> text of at most 500 characters."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(value)[:LONGEST_PARAM]
    return found


def side_experiment(tracking: Tracking, purpose: str, *, create: bool) -> str | None:
    """Id of the experiment ``EXPERIMENT PURPOSE`` beside that of the trainings, or None; ``create`` makes a missing one."""
    name = f"{section('tracking.experiment', str, tracking.root)} {purpose}"
    with _lock(tracking.root):
        found = tracking.client.get_experiment_by_name(name)
        if found is None and create:
            found = _create_experiment(tracking.client, name, tracking.root)
    if found is not None and found.lifecycle_stage == "deleted":
        if not create:
            return None
        tracking.client.restore_experiment(found.experiment_id)
    return str(found.experiment_id) if found else None


def _create_experiment(client: MlflowClient, name: str, root: Path) -> Experiment:
    # A server knows where its artifacts go; a local database would take whatever folder is current.
    uri = tracking_uri(root)
    local = None if uri.startswith("http") else (artifacts_beside(uri) or root.absolute() / ARTIFACTS).as_uri()
    try:
        kind = {"mlflow.experimentKind": "custom_model_development"}  # its pages show runs and models, not chats
        return client.get_experiment(client.create_experiment(name, local, kind))
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
        found = client.get_experiment_by_name(name)  # another machine was faster
        if found is None:
            raise
        return found


def _lock(root: Path) -> FileLock:
    folder = root.absolute() / ".syncmri"
    folder.mkdir(exist_ok=True)
    return FileLock(folder / "mlflow.lock", timeout=_LOCK_SECONDS)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the log of a new database's dozens of schema steps, of each attempt to reach a server, and of the tracebacks that
    :func:`explained` puts into a line."""
    levels = {name: logging.getLogger(name).level for name in _NOISY}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
