"""A registered model in an environment that holds its own requirements and nothing else: no checkout, no DVC, no SynCMRI."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from mlops import registry
from mlops.connection import connect, tracking_uri
from tests.app.approved_project import SIZE, build_approved_project
from tests.app.serving.malformed import heart, one_hot

URI = "models:/syncmri-ddpm@approved"
LOAD = """
import sys, mlflow.pyfunc, numpy as np
model = mlflow.pyfunc.load_model(sys.argv[1])
masks = np.load(sys.argv[2])
images = model.predict({"masks": masks}, params={"seed": 7, "steps": 2})
assert images.dtype == np.float32 and np.abs(images).max() <= 1
np.testing.assert_allclose(model.predict({"masks": masks}, params={"seed": 7, "steps": 2}), images, atol=1e-3)
assert not {"dvc", "ray", "pipelines", "mlops", "gradio"} & set(sys.modules)
np.save(sys.argv[3], images)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield build_approved_project(tmp_path_factory.mktemp("bare") / "project", ("ddpm",))


@pytest.fixture(scope="module")
def bare(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment; SYNCMRI_BARE_PYTHON names one that is there already."""
    if ready := os.environ.get("SYNCMRI_BARE_PYTHON"):
        return Path(ready)
    tracking = connect(project)
    version = registry.approved(tracking, "ddpm")
    assert version is not None
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    assert version.digest
    wanted = registry.download_package(tracking, version, version.digest)[0] / "model/requirements.txt"
    done = subprocess.run([folder / "bin/pip", "install", "--quiet", "-r", wanted], capture_output=True, text=True)
    if done.returncode and "No matching distribution" not in done.stderr:
        pytest.skip(f"no package index: {done.stderr[-300:]}")
    assert not done.returncode, done.stderr
    return folder / "bin/python"


def _environment(project: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {"MLFLOW_TRACKING_URI": tracking_uri(project), "MLFLOW_DISABLE_TELEMETRY": "true"}


def test_an_approved_version_loads_and_draws_the_same_everywhere(project: Path, bare: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "masks.npy", one_hot(heart(SIZE, 3)))
    drawn = []
    for python in (bare, Path(sys.executable)):
        out = tmp_path / f"{len(drawn)}.npy"
        words = [python, "-I", "-c", LOAD, URI, tmp_path / "masks.npy", out]
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=_environment(project))
        assert done.returncode == 0, done.stderr
        drawn.append(np.load(out))
    assert drawn[0].shape == (3, 1, SIZE, SIZE)
    np.testing.assert_allclose(drawn[0], drawn[1], atol=1e-3)


def test_mlflow_serves_an_approved_version(project: Path, bare: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [bare, "-I", "-m", "mlflow", "models", "serve", "-m", URI, "--env-manager", "local", "--port", str(port)]
    environment = _environment(project) | {"PATH": f"{bare.parent}:{os.environ['PATH']}"}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not _answers(f"http://127.0.0.1:{port}/ping"):
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(1)
        invocations = f"http://127.0.0.1:{port}/invocations"
        body = {"inputs": {"masks": one_hot(heart(SIZE, 2)).tolist()}, "params": {"seed": 1, "steps": 2}}
        answer = requests.post(invocations, json=body, timeout=120)
        assert answer.status_code == 200, answer.text
        assert np.shape(_images(answer.json()["predictions"])) == (2, 1, SIZE, SIZE)
        wrong = requests.post(invocations, json={"inputs": {"masks": [[1.0]]}}, timeout=120)
        assert wrong.status_code == 400
    finally:
        os.killpg(server.pid, 15)
        server.wait(60)


def test_the_package_holds_neither_guard_nor_names(project: Path, tmp_path: Path) -> None:
    tracking = connect(project)
    version = registry.approved(tracking, "ddpm")
    assert version is not None
    assert version.digest
    folder = shutil.copytree(registry.download_package(tracking, version, version.digest)[0] / "model", tmp_path / "model")
    assert not [path for path in folder.rglob("*") if "guard" in path.name or "lineage" in path.name]
    assert not [path for path in folder.rglob("*") if path.is_file() and b"mnms-train-" in path.read_bytes()]


def _images(predictions: object) -> object:
    return predictions["images"] if isinstance(predictions, dict) else predictions


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).ok
    except requests.RequestException:
        return False
