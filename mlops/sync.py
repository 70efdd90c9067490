"""Brings ``runs/`` and ``reports/figures/`` into MLflow: one run a trained network, with the figures of later stages.

Everything is added only where it is missing: it can be repeated at will, and fills a fresh database from a restored checkout.
"""

import hashlib
import json
import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Run

from cmr.errors import DataError
from mlops.connection import Tracking, connect, explained, flat
from mlops.records import PARTS, figures_of_network, headlines, network_names, read_figures, read_network
from mlops.release import DRAWN, DRAWN_STEPS, figures_for_release, hashes_for_release, label, names_in, settings_for_release
from mlops.revision import revision_tags
from mlops.settings import load_params
from mlops.yaml_files import read_yaml

NO_CURVES = ("step", "epoch")
"""Columns of a training's history that are no curves."""
PICTURES, TABLE_DIGEST = "syncmri.pictures", "syncmri.figures"
TABLE = "tables/figures.json"
_CONTEXTS = {"val": "validation", "test": "testing", "holdout": "testing"}
_LOCK_SETTLES = 2.0  # seconds without a change
_LONGEST_DIGEST = 36  # of a dataset, in MLflow: an MD5 of DVC with its ".dir"
_OUTCOMES = ("best", "codebook", "reconstruction")  # blocks of run.json that are figures of the trained network itself


@dataclass(frozen=True)
class Synced:
    """What a synchronisation found on disk and brought into MLflow."""

    networks: int
    figures: int


def sync(root: Path) -> Synced:
    """Bring all networks and figures of the project at ``root`` into MLflow; a second call changes nothing.

    Raises:
        TrackingError: server or database cannot be used.
        DataError: a record on disk is broken; it names the file.
    """
    root = root.absolute()
    with explained(root):
        tracking = connect(root)
        networks, files = network_names(root), read_figures(root)
        for name in networks:
            sync_network(tracking, name)
            sync_figures(tracking, name, files)
    return Synced(len(networks), len(files))


def find_or_start(tracking: Tracking, about: Mapping[str, Any], started_ms: int) -> Run:
    """The run of a network, with its parameters and tags.

    Args:
        about: name, kind, run_key, params, data (path -> content hash) and seed of the network.
        started_ms: start of the training, since 1970; of a new run only.
    """
    run = tracking.find_or_create(about["run_key"], about["name"], started_ms)
    params = flat({**settings_for_release(about["params"]), "seed": about["seed"]})
    tracking.log(run, params={key: text for key, text in params.items() if key not in run.data.params})
    if (
        "seed" not in run.data.tags
    ):  # revision and profile are those of the first recording: no later commit trained this network
        tracking.log(run, tags=_tags(tracking.root, about))
    return run


def sync_network(tracking: Tracking, name: str) -> Run:
    """Bring ``runs/NAME`` into its MLflow run: parameters, tags, curves, cost and pictures, each where it is missing.

    Raises:
        DataError: ``run.json`` or ``history.csv`` is missing or broken.
    """
    folder = tracking.root / "runs" / name
    record = read_network(tracking.root, name)
    ended = int(datetime.fromisoformat(record["created"]).timestamp() * 1000)
    started = ended - int(1000 * record["seconds"])
    run = find_or_start(tracking, record, started)

    curves = _curves(folder / "history.csv", started)
    there = tracking.points(run, {point.key for point in curves})
    tracking.log(run, [point for point in curves if (point.key, point.step) not in there])
    outcome = {"cost/train_seconds": record["seconds"], "cost/parameters": record.get("parameters")}
    for block in _OUTCOMES:
        outcome |= {f"{block}/{key}": value for key, value in record.get(block, {}).items()}
    _set_metrics(tracking, run, {key: float(value) for key, value in outcome.items() if value is not None}, ended)
    _set_tags(tracking, run, {"device": label(record["device"])})
    _inputs(tracking, run, record)
    _pictures(tracking, run, folder)
    if run.info.status != "FINISHED":
        tracking.client.set_terminated(run.info.run_id, "FINISHED", ended)
    return run


def _curves(path: Path, started_ms: int) -> list[Metric]:
    """Each column of history.csv as points at its ``step``, timed by its ``seconds``; NaN is no point."""
    try:
        table = pd.read_csv(path)
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"{path}: not readable as CSV ({error}); train the network again with `dvc repro --force`.") from error
    points = []
    for row in table.to_dict("records"):
        when = started_ms + int(1000 * row["seconds"])
        curves = {str(key): float(value) for key, value in row.items() if key not in NO_CURVES}
        points += [Metric(key, value, when, int(row["step"])) for key, value in curves.items() if not math.isnan(value)]
    return points


def _tags(root: Path, about: Mapping[str, Any]) -> dict[str, str]:
    tags = {"seed": str(about["seed"]), "profile": label(load_params(root).get("profile")), "kind": str(about.get("kind"))}
    data = hashes_for_release(about["data"], names_in(load_params(root)))
    tags |= {f"content/{path}": digest for path, digest in data.items()}
    tags |= {f"dvc/{path}": version for path, version in _dvc_hashes(root, data).items()}
    return {**tags, **revision_tags(root)}


def _dvc_hashes(root: Path, paths: Collection[str]) -> dict[str, str]:
    """Output path -> MD5 of what the pipeline made last, from dvc.lock, for those of ``paths`` that it names."""
    lock = root / "dvc.lock"
    while lock.is_file():
        young = time.time() - lock.stat().st_mtime < _LOCK_SETTLES
        try:
            stages = read_yaml(lock).get("stages", {})
        except DataError:
            stages = {}
        made = {out["path"]: str(out.get("md5")) for stage in stages.values() for out in stage.get("outs", [])}
        if all(path in made for path in paths) or not young:  # else another DVC process may be writing it just now
            return {path: made[path] for path in paths if path in made}
        time.sleep(0.2)
    return {}


def _pictures(tracking: Tracking, run: Run, folder: Path) -> None:
    """What the network drew. Other pictures in its folder, such as an autoencoder's reconstructions, show real slices."""
    pictures = [path for path in (folder / DRAWN, *sorted((folder / DRAWN_STEPS).glob("step-*.png"))) if path.is_file()]
    digest = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in pictures)).hexdigest()
    places = {(Path("pictures") / path.relative_to(folder)).as_posix(): path for path in pictures}
    if not pictures or (run.data.tags.get(PICTURES) == digest and _stored(tracking, run, places)):
        return
    for place, path in places.items():
        tracking.client.log_artifact(run.info.run_id, str(path), Path(place).parent.as_posix())
    tracking.log(run, tags={PICTURES: digest})  # last, so that an upload cut short is done again


def _stored(tracking: Tracking, run: Run, places: Collection[str]) -> bool:
    """Whether all these artifacts are there: a tag says what was uploaded once, and a store may have lost files since."""
    folders = {Path(place).parent.as_posix() for place in places}
    return set(places) <= {
        one.path for folder in folders for one in tracking.client.list_artifacts(run.info.run_id, folder) if not one.is_dir
    }


def sync_figures(tracking: Tracking, name: str, files: Mapping[str, Any]) -> None:
    """Bring the figures of the network ``runs/NAME`` into its MLflow run: the headlines as metrics ``AXIS/FIGURE`` with
    ``/low``, ``/high`` and ``/n``, why one is missing as a tag ``missing/AXIS/FIGURE``, and all of them in one table.

    Args:
        files: of :func:`mlops.records.read_figures`.
    """
    figures = figures_of_network(tracking.root, _for_release(tracking.root, files), name)
    if not figures:
        return
    run = tracking.find(read_network(tracking.root, name)["run_key"]) or sync_network(tracking, name)
    chosen = headlines(tracking.root, name, figures)
    reasons = {key: str(one.get("reason") or "no reason given") for key, one in chosen.items() if one["value"] is None}
    values = {
        f"{key}{ending}": float(one[part])
        for key, one in chosen.items()
        if key not in reasons
        for ending, part in PARTS.items()
        if one.get(part) is not None
    }
    gone = {key: math.nan for key in run.data.metrics if key not in values and {key, key.rpartition("/")[0]} & reasons.keys()}
    _set_metrics(tracking, run, values | gone, None)
    _set_tags(tracking, run, {f"missing/{key}": reason for key, reason in reasons.items()})
    for tag in run.data.tags:
        if tag.removeprefix("missing/") in values:
            tracking.client.delete_tag(run.info.run_id, tag)
    _table(tracking, run, figures)


def _for_release(root: Path, files: Mapping[str, Any]) -> dict[str, Any]:
    """The same files, their figures as they may leave the house: many may read what MLflow holds."""
    names = names_in(load_params(root))
    return {
        stem: content | {"figures": figures_for_release(content.get("figures") or {}, names)} for stem, content in files.items()
    }


def _table(tracking: Tracking, run: Run, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """All figures as a table that MLflow shows, and sets beside those of other runs."""
    columns = [*PARTS.values(), "reason"]
    rows = [[name, *(figure.get(column) for column in columns)] for name, figure in sorted(figures.items())]
    table = {"columns": ["figure", *columns], "data": rows}
    digest = hashlib.sha256(json.dumps(table).encode()).hexdigest()
    if run.data.tags.get(TABLE_DIGEST) != digest or not _stored(tracking, run, [TABLE]):
        tracking.client.log_dict(run.info.run_id, table, TABLE)
        # The first tag makes MLflow show the file as a table. The second comes last: an upload cut short is done again.
        tracking.log(run, tags={"mlflow.loggedArtifacts": json.dumps([{"path": TABLE, "type": "table"}])})
        tracking.log(run, tags={TABLE_DIGEST: digest})


def _inputs(tracking: Tracking, run: Run, record: Mapping[str, Any]) -> None:
    """The slice stores that the network was trained on, as MLflow's datasets: named by path, told apart by DVC's hash."""
    there = {given.dataset.name for given in run.inputs.dataset_inputs} if run.inputs else set()
    stores = hashes_for_release(record["data"], names_in(load_params(tracking.root)))
    missing = {path: content for path, content in stores.items() if path not in there}
    versions = _dvc_hashes(tracking.root, missing)
    given = []
    for path, content in missing.items():
        # A run that has been in MLflow for long keeps the hash of then.
        version = run.data.tags.get(f"dvc/{path}") or versions.get(path)
        source = {"uri": path} | ({"dvc_md5": version} if version else {})
        profile = json.dumps({"slices": record["slices"][path]}) if path in record.get("slices", {}) else None
        dataset = Dataset(path, version or content[:_LONGEST_DIGEST], "local", json.dumps(source), profile=profile)
        context = _CONTEXTS.get(path.rpartition("/")[2], "training")
        given.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
    if given:
        tracking.client.log_inputs(run.info.run_id, given)


def _set_tags(tracking: Tracking, run: Run, tags: Mapping[str, str]) -> None:
    tracking.log(run, tags={key: text for key, text in tags.items() if run.data.tags.get(key) != text})


def _set_metrics(tracking: Tracking, run: Run, values: Mapping[str, float], when_ms: int | None) -> None:
    """Log each value that differs from the run's present one; MLflow can't delete a metric, so a figure that went is NaN."""
    when = int(datetime.now().timestamp() * 1000) if when_ms is None else when_ms
    now = run.data.metrics
    changed = {key: float(value) for key, value in values.items() if not _same(now.get(key), float(value))}
    tracking.log(run, [Metric(key, value, when, 0) for key, value in changed.items()])


def _same(one: float | None, other: float) -> bool:
    return one is not None and (one == other or (math.isnan(one) and math.isnan(other)))
