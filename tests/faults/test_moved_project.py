"""A project with results is moved to a folder with a blank and an umlaut in its name; everything is then used there.

The project is the tiny one of the other tests, with models that were really packaged, registered and approved. A finished demo
takes its place where ``SYNCMRI_FINISHED_DEMO`` names one (a copy is moved): ``make demo``, then this test with that variable.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from app.approved import load_approved
from cmr.store import SliceStore
from mlops import registry
from mlops.connection import connect
from mlops.tuning.studies import load
from mlops.tuning.study import FINISHED
from tests.app.approved_project import build_approved_project
from tests.mlops.mlflow_server import free_port
from tests.pipelines import sweep_project
from tests.pipelines.project import REPOSITORY, environment

pytestmark = pytest.mark.slow

NAME = "my project ü"
DEMO = os.environ.get("SYNCMRI_FINISHED_DEMO")


def syncmri(root: Path, *words: str) -> str:
    """A command in the project, as a user types it; it must end well and without a traceback."""
    keys = {name: os.environ[name] for name in ("SYNCMRI_KEYS",) if name in os.environ}
    variables = environment() | keys | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "app.cli", *words]
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stdout[-1000:]}{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Old place, which is gone, and new place."""
    folder = tmp_path_factory.mktemp("before")
    old = folder / "project"
    if DEMO:
        shutil.copytree(DEMO, old, symlinks=True, ignore=shutil.ignore_patterns(".venv"))
        connect(old)  # the copy's artifacts are its own from here on
    else:
        build_approved_project(old, ("masks", "ddpm"))
    shutil.rmtree(old / ".syncmri/registry", ignore_errors=True)  # else nothing would be fetched from MLflow
    new = old.rename(folder / NAME)
    return old, new


def test_models_are_registered_judged_approved_and_audited(moved: tuple[Path, Path]) -> None:
    old, new = moved
    assert f"lay at {old} before" in syncmri(new, "sync")
    assert "version 1" in syncmri(new, "register", "ddpm")
    for words in (("verify", "ddpm"), ("promote", "ddpm"), ("history", "ddpm"), ("demote", "ddpm"), ("promote", "ddpm")):
        syncmri(new, *words)
    assert load_approved(new, "ddpm").number == 1


def test_a_set_is_drawn_and_lies_where_the_project_lies(moved: tuple[Path, Path]) -> None:
    _, new = moved
    syncmri(new, "generate", "--model", "ddpm", "--count", "2", "--out", "new set ü", "--steps", "2")
    assert len(SliceStore.open(new / "new set ü")) == 2


def test_a_patient_is_traced(moved: tuple[Path, Path]) -> None:
    _, new = moved
    subject = SliceStore.open(new / "data/cohort/train").index["subject"].iloc[0]
    assert "syncmri-ddpm" in syncmri(new, "lineage", str(subject))


def test_doctor_reads_the_project(moved: tuple[Path, Path]) -> None:
    _, new = moved
    command = [sys.executable, "-m", "app.cli", "doctor"]  # its status is that of this machine
    done = subprocess.run(command, cwd=new, env=environment() | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    assert f"ok    tracking: sqlite:///{new}/mlflow.db" in done.stdout
    assert "Traceback" not in done.stderr


def test_mlflow_itself_loads_the_approved_version(moved: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    _, new = moved
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{new / 'mlflow.db'}")
    place = mlflow.artifacts.download_artifacts(f"models:/{registry.registered_name('ddpm')}@approved")
    assert Path(place, "MLmodel").is_file()


def test_nothing_names_the_old_place_or_makes_it_again(moved: tuple[Path, Path]) -> None:
    old, new = moved
    with closing(sqlite3.connect(new / "mlflow.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                found = database.execute(
                    f'SELECT count(*) FROM "{table}" WHERE instr(CAST("{column}" AS TEXT), ?)', (f"{old}/",)
                ).fetchone()
                assert found == (0,), (table, column)
    assert not old.exists()


def test_a_sweep_that_was_stopped_goes_on_after_the_move(tmp_path: Path) -> None:
    old = sweep_project.build(tmp_path / "project")
    syncmri(old, "tune", "masks", "--trials", "1", "--concurrency", "1")
    new = old.rename(tmp_path / NAME)
    study = load(new, "masks-1")
    syncmri(new, "tune", "masks", "--trials", "2", "--resume", "masks-1", "--concurrency", "1")
    assert [trial.state for trial in load(new, study.name).all_trials()] == [FINISHED, FINISHED]
    assert not old.exists()


def test_the_api_serves_from_the_new_place(moved: tuple[Path, Path]) -> None:
    import json
    import time
    import urllib.request

    _, new = moved
    port = free_port()
    keys = {"SYNCMRI_KEYS": os.environ["SYNCMRI_KEYS"], "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "app.cli", "serve", "--model", "ddpm", "--port", str(port)]
    with (new / "serve.log").open("w") as log:
        process = subprocess.Popen(command, cwd=new, env=environment() | keys, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                    assert json.load(answer)
                    return
            except OSError:
                assert process.poll() is None, (new / "serve.log").read_text()
                time.sleep(0.5)
        raise AssertionError((new / "serve.log").read_text())
    finally:
        process.terminate()
        process.wait(60)
