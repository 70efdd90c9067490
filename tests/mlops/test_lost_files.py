"""Files that MLflow has lost are brought back by `syncmri sync`, or named: a record of them is not the files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlops import registry
from mlops.connection import Tracking, connect
from mlops.promotion import promote
from mlops.sync import sync
from tests.mlops.conftest import REPOSITORY
from tests.mlops.registered import MODEL, retrain


def syncmri(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, "-m", "app.cli", *words], cwd=root, env=environment, capture_output=True, text=True)


def collect_garbage(root: Path) -> None:
    """`mlflow gc`: what was deleted goes for good, records and files."""
    uri = f"sqlite:///{root / 'mlflow.db'}"
    command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", uri]
    subprocess.run(command, env={**os.environ, "MLFLOW_TRACKING_URI": uri}, check=True, capture_output=True)


def usable(tracking: Tracking, version: registry.Version) -> bool:
    assert version.digest
    shutil.rmtree(registry.cached_package(tracking.root, version.digest), ignore_errors=True)
    return registry.download_package(tracking, version, version.digest)[0].is_dir()


def test_a_deleted_run_comes_back_with_its_version(registered: Path) -> None:
    tracking = connect(registered)
    (version,) = registry.versions(tracking, MODEL)
    tracking.client.delete_run(version.run_id)
    done = syncmri(registered, "sync")
    assert done.returncode == 0, done.stderr
    assert "version 1." in done.stdout
    assert tracking.client.get_run(version.run_id).info.lifecycle_stage == "active"
    collect_garbage(registered)
    assert usable(tracking, version)


def test_after_garbage_collection_there_is_a_version_that_can_be_used(registered: Path) -> None:
    promote(registered, MODEL, user="test")
    tracking = connect(registered)
    (version,) = registry.versions(tracking, MODEL)
    tracking.client.delete_run(version.run_id)
    collect_garbage(registered)
    done = syncmri(registered, "sync")
    assert done.returncode == 0, done.stderr
    assert "syncmri-ddpm version 2" in done.stdout
    assert "version 1 cannot be used: its files in MLflow are gone. Version 2 is the same package" in done.stderr
    assert f"syncmri promote {MODEL}" in done.stderr
    newest = registry.versions(tracking, MODEL)[0]
    assert newest.digest == version.digest
    assert usable(tracking, newest)
    assert promote(registered, MODEL, user="test").approved
    assert "version 2" in syncmri(registered, "sync").stdout  # and no third one
    assert len(registry.versions(tracking, MODEL)) == 2


@pytest.mark.parametrize("lost", ["all", "manifest"])
def test_files_of_an_older_version_come_back_from_the_copy_here(registered: Path, lost: str) -> None:
    tracking = connect(registered)
    (first,) = registry.versions(tracking, MODEL)
    assert first.digest
    registry.download_package(tracking, first, first.digest)
    retrain(registered)
    place = registered / "mlartifacts" / first.run_id / "artifacts/packages"
    if lost == "all":
        shutil.rmtree(place)
    else:
        next(place.rglob("manifest.json")).unlink()
    done = syncmri(registered, "sync")
    assert "version 1 had lost its files in MLflow: they are there again" in done.stderr
    assert usable(tracking, first)
    assert "lost" not in syncmri(registered, "sync").stderr


def test_what_cannot_be_brought_back_is_named(registered: Path) -> None:
    tracking = connect(registered)
    (first,) = registry.versions(tracking, MODEL)
    assert first.digest
    retrain(registered)
    shutil.rmtree(registered / "mlartifacts" / first.run_id)
    shutil.rmtree(registry.cached_package(registered, first.digest), ignore_errors=True)
    said = syncmri(registered, "sync").stderr
    assert "version 1 cannot be used: its files in MLflow are gone. No copy of them is on this machine." in said


def test_pictures_and_tables_come_back(registered: Path) -> None:
    tracking = connect(registered)
    run_id = registry.versions(tracking, MODEL)[0].run_id
    artifacts = registered / "mlartifacts" / run_id / "artifacts"
    (registered / "runs/ddpm/drawn.png").write_bytes(b"a picture")
    sync(registered)
    before = files(artifacts)
    assert len(before) == 2
    for name in ("pictures", "tables"):
        shutil.rmtree(artifacts / name)
    sync(registered)
    assert files(artifacts) == before


def test_no_file_goes_to_a_run_that_somebody_else_names(registered: Path, tmp_path: Path) -> None:
    tracking = connect(registered)
    (version,) = registry.versions(tracking, MODEL)
    assert version.digest
    registry.download_package(tracking, version, version.digest)
    experiment = tracking.client.create_experiment("foreign", (tmp_path / "foreign").as_uri())
    run = tracking.client.create_run(experiment)
    tags = {registry.DIGEST: version.digest}
    tracking.client.create_model_version(version.name, run.info.artifact_uri, run.info.run_id, tags=tags)
    said = syncmri(registered, "sync").stderr
    assert "version 2 cannot be used" in said
    assert not list((tmp_path / "foreign").rglob("*.safetensors"))


def files(artifacts: Path) -> list[Path]:
    return sorted(path.relative_to(artifacts) for name in ("pictures", "tables") for path in (artifacts / name).rglob("*.*"))
