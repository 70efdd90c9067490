"""A project that is renamed, moved or copied with its database finds its artifacts, and writes into its own folder only."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mlops import registry
from mlops.connection import Tracking, TrackingError, connect, tracking_uri
from mlops.moved import artifacts_beside, follow_the_folder
from mlops.registry import Version
from tests.mlops.registered import MODEL, retrain


def fetched(tracking: Tracking, version: Version) -> Path:
    return registry.download_package(tracking, version, version.tags[registry.DIGEST])[0]


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_a_renamed_project_finds_its_artifacts_and_uploads_to_its_new_place(registered: Path, tmp_path: Path) -> None:
    connect(registered)  # the fixture is a copy: from here on its artifacts are its own
    shutil.rmtree(registered / ".syncmri/registry", ignore_errors=True)
    renamed = registered.rename(tmp_path / "another name, with a space & a %")
    tracking = connect(renamed)
    (version,) = registry.versions(tracking, MODEL)
    assert fetched(tracking, version).is_relative_to(renamed)
    places = [run.info.artifact_uri for run in tracking.client.search_runs([tracking.experiment])]
    assert places
    assert all(place.startswith((renamed / "mlartifacts").as_uri()) for place in places)
    assert tracking.client.get_model_version(version.name, "1").source.startswith((renamed / "mlartifacts").as_uri())

    second = retrain(renamed)
    assert second.number == 2
    assert (renamed / "mlartifacts" / second.run_id / "artifacts/packages").is_dir()
    assert not registered.exists()


def test_a_copy_writes_nothing_into_the_original(registered: Path, tmp_path: Path) -> None:
    connect(registered)
    before = files(registered)
    copy = Path(shutil.copytree(registered, tmp_path / "copy"))
    retrain(copy)
    tracking = connect(copy)
    for version in registry.versions(tracking, MODEL):
        assert fetched(tracking, version).is_relative_to(copy)
    assert files(registered) == before


def test_what_did_not_come_along_is_uploaded_again(registered: Path, tmp_path: Path) -> None:
    connect(registered)
    shutil.rmtree(registered / "mlartifacts")
    shutil.rmtree(registered / ".syncmri/registry", ignore_errors=True)
    renamed = registered.rename(tmp_path / "renamed")
    tracking = connect(renamed)
    (version,) = registry.versions(tracking, MODEL)
    assert registry.register(tracking, MODEL).number == 1
    assert fetched(tracking, version).is_dir()


def test_only_a_projects_own_database_is_changed(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that several projects share, and one folder under two names, stay as they are."""
    connect(registered)
    shared = tmp_path / "shared"
    shared.mkdir()
    shutil.copyfile(registered / "mlflow.db", shared / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared / 'mlflow.db'}")
    assert artifacts_beside(tracking_uri(registered)) is None
    assert not follow_the_folder(tracking_uri(registered), "syncmri")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    other_name = tmp_path / "link"
    other_name.symlink_to(registered)
    assert not follow_the_folder(tracking_uri(other_name), "syncmri")
    for foreign in ("http://127.0.0.1:5000", "postgresql://user:secret@127.0.0.1/mlflow", "sqlite:////nowhere/mlflow.db"):
        assert not follow_the_folder(foreign, "syncmri")


def test_every_location_below_the_old_folder_moves_and_the_old_folder_is_not_made_again(
    registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the one that MLflow itself writes into where no experiment is named, and that of an experiment of another name."""
    connect(registered)
    with closing(sqlite3.connect(registered / "mlflow.db")) as database, database:
        place = f"{registered}/mlruns/0"  # a path, where MLflow ran in the folder
        database.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0", (place,))
    params = registered / "params.yaml"
    params.write_text(params.read_text().replace("experiment: syncmri", "experiment: another"))
    shutil.rmtree(registered / ".syncmri/registry", ignore_errors=True)
    renamed = registered.rename(tmp_path / "my project ü")
    tracking = connect(renamed)
    (version,) = registry.versions(tracking, MODEL)
    assert fetched(tracking, version).is_relative_to(renamed)
    run = tracking.client.create_run("0")
    tracking.client.log_text(run.info.run_id, "x", "note.txt")
    assert (renamed / "mlruns/0" / run.info.run_id / "artifacts/note.txt").is_file()
    assert not registered.exists()


def test_an_address_in_the_environment_that_names_the_old_place_makes_nothing_there(
    registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{registered}/mlflow.db")
    connect(registered)
    renamed = registered.rename(tmp_path / "renamed")
    with pytest.raises(TrackingError, match=r"no folder .*was it moved"):
        connect(renamed)
    assert not registered.exists()
