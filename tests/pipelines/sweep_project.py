"""A project folder that a sweep can run in: drawn hearts in place of scans, the demo's settings made small, no pipeline run."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from cmr.store import SliceStore, concatenate
from mlops.profiles import configure
from tests.pipelines.project import REPOSITORY, TINY, git
from tests.pipelines.report_project import build_project

SPACE = "{train.learning_rate: {low: 1.0e-3, high: 1.0e-2, log: true}}"
STEPS, VALIDATIONS = 12, 4


def build(root: Path, **overrides: str) -> Path:
    """Writes it.

    Args:
        overrides: of single parameters, as for ``syncmri configure --set``, dots written as two underscores.
    """
    build_project(root, generators=(), figures=False)
    shutil.copytree(REPOSITORY / "profiles", root / "profiles")
    (root / ".dvc").mkdir()
    git(root, "init", "-q", "-b", "main")
    both = [SliceStore.open(root / f"data/cohort/{split}") for split in ("train", "val")]
    together = concatenate(both)
    SliceStore.write(root / "data/sets/mnms-real", together.index, together.masks, together.images)
    settings = dict(TINY)
    for name in ("masks", "ddpm", "ldm", "fm", "segmenter"):
        settings |= {f"{name}.search.space": SPACE, f"{name}.search.max_steps": str(STEPS), f"{name}.search.images": "4"}
        settings |= {f"{name}.train.validations": str(VALIDATIONS), f"{name}.train.checkpoint_seconds": "0.0"}
    settings |= {key.replace("__", "."): value for key, value in overrides.items()}
    with contextlib.chdir(root):
        configure("demo", overrides=[f"{key}={value}" for key, value in settings.items()])
    return root


def runs(root: Path) -> dict[str, Run]:
    """Every MLflow run of the project by name; no two may share one."""
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name("syncmri")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    named = {str(run.info.run_name): run for run in found}
    assert len(named) == len(found), sorted(str(run.info.run_name) for run in found)
    return named


def curve(root: Path, run: Run, name: str) -> list[int]:
    """The steps of a curve."""
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    return [point.step for point in client.get_metric_history(run.info.run_id, name)]


def nested(root: Path, study: str) -> dict[str, Run]:
    """The trials' runs of a study, each under the study's own."""
    found = runs(root)
    trials = {name: run for name, run in found.items() if name.startswith(f"{study}/")}
    assert {run.data.tags["mlflow.parentRunId"] for run in trials.values()} <= {found[f"sweep {study}"].info.run_id}
    return trials


def distinct(trials: dict[str, Any]) -> bool:
    """Whether no two runs tried the same values."""
    tried = [tuple(sorted(run.data.params.items())) for run in trials.values()]
    return len(set(tried)) == len(tried)
