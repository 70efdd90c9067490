"""A project folder with the real profiles, and records of trained networks written by hand."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from mlops.profiles import configure

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, configured by nothing yet; the working directory is in it."""
    root = tmp_path / "project"
    shutil.copytree(REPOSITORY / "profiles", root / "profiles")
    (root / ".dvc").mkdir()
    monkeypatch.chdir(root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("SYNCMRI_PARENT_RUN_ID", raising=False)
    return root


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database without runs; making one takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def demo(project: Path, empty_database: Path) -> Path:
    """A project configured as the demo, with a tracking database that holds nothing yet."""
    configure("demo")
    shutil.copyfile(empty_database, project / "mlflow.db")
    return project


@pytest.fixture
def versioned(project: Path) -> Path:
    """A project under git and DVC."""
    shutil.rmtree(project / ".dvc")
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=project, check=True)
    return project


@pytest.fixture(scope="session")
def registered_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny project with version 1 of ``ddpm`` as the candidate, which passes the gate; making it takes seconds."""
    from tests.mlops.registered import build_registered

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return build_registered(tmp_path_factory.mktemp("registered") / "project")


@pytest.fixture
def registered(registered_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to change."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Path(shutil.copytree(registered_once, tmp_path / "project"))
