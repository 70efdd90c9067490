"""Brings ``runs/`` and ``reports/figures/`` into MLflow: one run a trained network, with the figures of later stages.

Everything is added only where it is missing: it can be repeated at will, and fills a fresh database from a restored checkout.
"""

import hashlib
import json
import math
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Metric, Run

from cmr.errors import DataError
from mlops.connection import Tracking, connect, explained, flat
from mlops.settings import load_params, read_yaml

FIGURES = Path("reports", "figures")
PICTURES = "syncmri.pictures"
_CURVES_WITHOUT = ("step",)
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
        networks = sorted(path.parent.relative_to(root / "runs").as_posix() for path in (root / "runs").rglob("run.json"))
        for name in networks:
            sync_network(tracking, name)
        files = sorted((root / FIGURES).glob("*.json"))
        for path in files:
            sync_figures(tracking, path)
    return Synced(len(networks), len(files))


def find_or_start(tracking: Tracking, about: Mapping[str, Any], started_ms: int) -> Run:
    """The run of a network, with its parameters and tags.

    Args:
        about: name, kind, run_key, params, data (path -> content hash) and seed of the network.
        started_ms: start of the training, since 1970; of a new run only.
    """
    run = tracking.find_or_create(about["run_key"], about["name"], started_ms)
    params = flat({**about["params"], "seed": about["seed"]})
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
    record = _read_record(folder / "run.json")
    ended = int(datetime.fromisoformat(record["created"]).timestamp() * 1000)
    started = ended - int(1000 * record["seconds"])
    run = find_or_start(tracking, record, started)

    curves = _curves(folder / "history.csv", started)
    there = tracking.points(run, {point.key for point in curves})
    tracking.log(run, [point for point in curves if (point.key, point.step) not in there])
    outcome = {"cost/train_seconds": record["seconds"]}
    for block in _OUTCOMES:
        outcome |= {f"{block}/{key}": value for key, value in record.get(block, {}).items()}
    _set_metrics(tracking, run, {key: float(value) for key, value in outcome.items() if value is not None}, ended)
    _set_tags(tracking, run, {"device": record["device"]})
    _pictures(tracking, run, folder)
    if run.info.status != "FINISHED":
        tracking.client.set_terminated(run.info.run_id, "FINISHED", ended)
    return run


def _read_record(path: Path) -> dict[str, Any]:
    record = _read_json(path)
    needed = ("name", "run_key", "params", "data", "seed", "seconds", "device", "best", "created")
    if missing := [key for key in needed if key not in record]:
        raise DataError(f"{path}: the record lacks {', '.join(missing)}; train the network again with `dvc repro --force`.")
    return record


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; `dvc repro` makes it, `dvc checkout` restores it.") from error
    except ValueError as error:
        raise DataError(f"{path}: not readable as JSON ({error}); delete it and run `dvc repro`.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}; delete it and run `dvc repro`.")
    return content


def _curves(path: Path, started_ms: int) -> list[Metric]:
    """Each column of history.csv as points at its ``step``, timed by its ``seconds``; NaN is no point."""
    try:
        table = pd.read_csv(path)
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"{path}: not readable as CSV ({error}); train the network again with `dvc repro --force`.") from error
    points = []
    for row in table.to_dict("records"):
        when = started_ms + int(1000 * row["seconds"])
        curves = {str(key): float(value) for key, value in row.items() if key not in _CURVES_WITHOUT}
        points += [Metric(key, value, when, int(row["step"])) for key, value in curves.items() if not math.isnan(value)]
    return points


def _tags(root: Path, about: Mapping[str, Any]) -> dict[str, str]:
    tags = {"seed": str(about["seed"]), "profile": str(load_params(root).get("profile")), "kind": str(about.get("kind"))}
    versions = _dvc_hashes(root)
    for path, digest in about["data"].items():
        tags[f"content/{path}"] = str(digest)
        if path in versions:
            tags[f"dvc/{path}"] = versions[path]
    return {**tags, **_git(root)}


def _dvc_hashes(root: Path) -> dict[str, str]:
    """Output path -> MD5 of what the pipeline made last, from dvc.lock."""
    if not (root / "dvc.lock").is_file():
        return {}
    stages = read_yaml(root / "dvc.lock").get("stages", {})
    return {out["path"]: str(out.get("md5")) for stage in stages.values() for out in stage.get("outs", [])}


def _git(root: Path) -> dict[str, str]:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        # The pipeline itself writes dvc.lock and reports/ as it goes.
        dirty = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports")
        return {"mlflow.source.git.commit": git("rev-parse", "HEAD"), "git.dirty": str(bool(dirty)).lower()}
    except (OSError, subprocess.CalledProcessError):  # no git, or no commit yet: there is no revision to name
        return {}


def _pictures(tracking: Tracking, run: Run, folder: Path) -> None:
    pictures = sorted(folder.rglob("*.png"))
    digest = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in pictures)).hexdigest()
    if not pictures or run.data.tags.get(PICTURES) == digest:
        return
    for path in pictures:
        place = Path("pictures") / path.parent.relative_to(folder)
        tracking.client.log_artifact(run.info.run_id, str(path), place.as_posix())
    tracking.log(run, tags={PICTURES: digest})  # last, so that an upload cut short is done again


def sync_figures(tracking: Tracking, path: Path) -> None:
    """Log a figures file as ``AXIS/figure``, AXIS being its name up to the first ``-``, in each run that it speaks of."""
    content = _read_json(path)
    axis = path.stem.partition("-")[0]
    for owner, prefix, figures in _owners(tracking.root, axis, content):
        record = tracking.root / "runs" / owner / "run.json"
        if not record.is_file():
            continue
        key = _read_record(record)["run_key"]
        if content.get("run_key", key) != key:  # measured on an earlier training of this network
            continue
        run = tracking.find(key) or sync_network(tracking, owner)
        values: dict[str, float] = {}
        reasons: dict[str, str] = {}
        _flatten(figures, prefix, values, reasons)
        _set_figures(tracking, run, values, reasons, prefix)


def _owners(root: Path, axis: str, content: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(network, prefix, figures): whose runs a file's figures go to.

    Utility has one block a setup, for the setup's segmenter and, as ``utility/SOURCE``, for the generator behind its images.
    """
    figures = content.get("figures") or {}
    if content.get("run"):
        yield str(content["run"]), axis, figures
    elif axis == "utility":
        for setup, block in figures.items():
            yield f"segmenter/{setup}", axis, block
            generator, _, source = setup.partition("-")
            if (root / "runs" / generator / "run.json").is_file():
                yield generator, f"{axis}/{source}", block


def _flatten(node: Any, prefix: str, values: dict[str, float], reasons: dict[str, str]) -> None:
    """Figures as metric name -> number (``NAME``, ``NAME/low``, ``NAME/high``, ``NAME/n``), or name -> why it is missing."""
    if isinstance(node, Mapping) and "value" in node:
        if node["value"] is None:
            reasons[prefix] = str(node.get("reason", "no reason given"))
            return
        parts = {"": node["value"], "/low": node.get("ci_low"), "/high": node.get("ci_high"), "/n": node.get("n")}
        values |= {f"{prefix}{part}": float(value) for part, value in parts.items() if value is not None}
    elif isinstance(node, Mapping):
        for key, below in node.items():
            _flatten(below, f"{prefix}/{key}", values, reasons)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        values[prefix] = float(node)


def _set_figures(tracking: Tracking, run: Run, values: Mapping[str, float], reasons: Mapping[str, str], prefix: str) -> None:
    logged = [name for name in run.data.metrics if name.startswith(f"{prefix}/")]
    gone = {name: math.nan for name in logged if name not in values and _was_figure(name, reasons)}
    _set_metrics(tracking, run, {**values, **gone}, None)
    tags = {f"missing/{name}": reason for name, reason in reasons.items()}
    _set_tags(tracking, run, tags)
    for key in run.data.tags:
        if key.startswith(f"missing/{prefix}/") and key.removeprefix("missing/") in values:
            tracking.client.delete_tag(run.info.run_id, key)


def _was_figure(metric: str, reasons: Mapping[str, str]) -> bool:
    return metric in reasons or metric.rpartition("/")[0] in reasons


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
