"""The account that `serve` and `studio` have at the team's MLflow server reads everything they need, and changes nothing."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlops import registry
from mlops.connection import connect
from tests.mlops.conftest import REPOSITORY
from tests.mlops.mlflow_server import server
from tests.mlops.registered import MODEL, build_registered

ADMIN, READER = ("admin", "a long password of the administrator"), ("reader", "a long password of the reader")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The server with MLflow's login as deploy/compose.yaml starts it, with a model that the administrator registered."""
    folder = tmp_path_factory.mktemp("guarded")
    ini = (REPOSITORY / "deploy/basic_auth.ini").read_text().replace("/auth/basic_auth.db", str(folder / "basic_auth.db"))
    (folder / "basic_auth.ini").write_text(ini)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(folder / "basic_auth.ini"))
        patch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", ADMIN[1])
        patch.setenv("MLFLOW_FLASK_SERVER_SECRET_KEY", "a secret of the forms")
        with server(folder / "server", app="basic-auth") as uri:
            patch.setenv("MLFLOW_TRACKING_URI", uri)
            patch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN[0])
            patch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN[1])
            patch.setenv("MLFLOW_READER_PASSWORD", READER[1])
            for _ in range(2):  # compose runs it at each start
                subprocess.run([sys.executable, str(REPOSITORY / "deploy/users.py")], check=True)
            root = build_registered(folder / "project")
            patch.setenv("MLFLOW_TRACKING_USERNAME", READER[0])
            patch.setenv("MLFLOW_TRACKING_PASSWORD", READER[1])
            yield uri, root


def test_the_reader_reads_models_runs_and_artifacts(guarded: tuple[str, Path]) -> None:
    _, root = guarded
    tracking = connect(root)
    (version,) = registry.versions(tracking, MODEL)
    assert tracking.client.get_run(version.run_id).data.tags
    assert registry.download_package(tracking, version, version.tags[registry.DIGEST])[0].is_dir()


def test_the_reader_changes_nothing(guarded: tuple[str, Path], tmp_path: Path) -> None:
    uri, root = guarded
    client = MlflowClient(uri)
    name, run = registry.registered_name(MODEL), registry.version(connect(root), MODEL, 1).run_id
    (tmp_path / "foreign").write_text("x")
    attempts = (
        lambda: client.set_registered_model_alias(name, "approved", "1"),
        lambda: client.delete_registered_model_alias(name, "candidate"),
        lambda: client.set_model_version_tag(name, "1", "syncmri.package", "other"),
        lambda: client.set_registered_model_tag(name, "x", "y"),
        lambda: client.create_model_version(name, f"runs:/{run}/packages", run),
        lambda: client.delete_model_version(name, "1"),
        lambda: client.update_model_version(name, "1", "other words"),
        lambda: client.set_tag(run, "x", "y"),
        lambda: client.log_metric(run, "x", 1.0),
        lambda: client.delete_run(run),
        lambda: client.log_artifact(run, str(tmp_path / "foreign")),
    )
    for number, attempt in enumerate(attempts):
        with pytest.raises((MlflowException, requests.HTTPError)) as refused:
            attempt()
        assert "403" in str(refused.value) or "PERMISSION_DENIED" in str(refused.value), number
    place = client.get_run(run).info.artifact_uri.removeprefix("mlflow-artifacts:/")
    put = requests.put(f"{uri}/api/2.0/mlflow-artifacts/artifacts/{place}/packages/x", data=b"x", auth=READER, timeout=30)
    assert put.status_code == 403
    deleted = requests.delete(f"{uri}/api/2.0/mlflow-artifacts/artifacts/{place}/packages", auth=READER, timeout=30)
    assert deleted.status_code == 403


@pytest.mark.parametrize("auth", [None, ("reader", "wrong"), ("nobody", READER[1]), ("admin", "password1234")])
def test_nobody_else_reads(guarded: tuple[str, Path], auth: tuple[str, str] | None) -> None:
    uri, _ = guarded
    for path in ("mlflow/registered-models/search", "mlflow/experiments/get-by-name?experiment_name=syncmri"):
        assert requests.get(f"{uri}/api/2.0/{path}", auth=auth, timeout=30).status_code == 401
    made = {"username": "more", "password": "a long password of more"}
    assert requests.post(f"{uri}/api/2.0/mlflow/users/create", json=made, auth=auth, timeout=30).status_code == 401
    assert requests.post(f"{uri}/api/2.0/mlflow/users/create", json=made, auth=READER, timeout=30).status_code == 403
