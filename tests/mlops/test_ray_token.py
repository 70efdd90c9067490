"""A real Ray cluster that asks for a token: who has it joins, everybody else gets a sentence that says what to do."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mlops.cluster import asks_for_token
from tests.mlops.mlflow_server import free_port

JOIN = """
import sys
from pathlib import Path
from mlops.cluster import joined
from cmr.errors import DataError
try:
    with joined(Path(".")):
        import ray
        print("joined", ray.cluster_resources()["CPU"])
except DataError as error:
    sys.exit(f"error: {error}")
"""
OWN = """
import os, subprocess, sys
from pathlib import Path
from mlops.cluster import asks_for_token, started
with started(Path(".")) as found:
    print("guarded", asks_for_token(found["RAY_ADDRESS"]), found["RAY_AUTH_MODE"])
    child = subprocess.run([sys.executable, "-c", sys.argv[1]], env={**os.environ, **found}, capture_output=True, text=True)
    print(child.stdout, child.stderr[-500:])
"""


def start(folder: Path, environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}", "--num-cpus=1"]
    command += ["--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=100000000"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    for _ in range(120):
        found = re.search(r"Local node IP: (\S+)", (folder / "log").read_text())
        if found and "Ray runtime started" in (folder / "log").read_text():
            return process, f"{found[1]}:{port}"
        try:
            process.wait(1)
            break
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError((folder / "log").read_text()[-2000:])


def end(process: subprocess.Popen[bytes]) -> None:
    """The head and what it started, by their ids."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
    for child in children:
        if child.is_running():
            child.kill()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment without settings of Ray and without a token in the home folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    home = tmp_path_factory.mktemp("home")
    return kept | {"HOME": str(home), "PYTHONPATH": str(Path.cwd()), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, bare: dict[str, str]) -> Iterator[tuple[str, Path]]:
    """Address of a cluster with a token, and the file with it."""
    folder = tmp_path_factory.mktemp("ray")
    token = folder / "token"
    token.write_text("b" * 64)
    token.chmod(0o600)
    process, address = start(folder, bare | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)})
    yield address, token
    end(process)


def run(script: str, folder: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "params.yaml").write_text("train:\n  workers: 2\n")
    return subprocess.run(
        [sys.executable, "-c", script, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "mode without a token", "another token"])
def test_without_its_token_nobody_joins(guarded: tuple[str, Path], bare: dict[str, str], tmp_path: Path, kind: str) -> None:
    address, _ = guarded
    more = {"none": {}, "mode without a token": {"RAY_AUTH_MODE": "token"}}.get(
        kind, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "c" * 64}
    )
    done = run(JOIN, tmp_path, bare | {"RAY_ADDRESS": address} | more)
    assert done.returncode == 1
    assert f"The Ray cluster at {address} asks for a token" in done.stderr
    assert "RAY_AUTH_TOKEN_PATH=FILE" in done.stderr
    assert "c" * 64 not in done.stderr


@pytest.mark.slow
def test_with_its_token_it_is_joined(guarded: tuple[str, Path], bare: dict[str, str], tmp_path: Path) -> None:
    address, token = guarded
    assert asks_for_token(address)
    more = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    done = run(JOIN, tmp_path, bare | more)
    assert done.stdout.startswith("joined 1.0"), done.stderr


@pytest.mark.slow
def test_the_doctor_can_tell_a_cluster_without_a_token(bare: dict[str, str], tmp_path: Path) -> None:
    process, address = start(tmp_path, bare | {"RAY_AUTH_MODE": "disabled"})
    try:
        assert not asks_for_token(address)
    finally:
        end(process)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["", "disabled"])
def test_an_instance_of_our_own_asks_for_a_token(bare: dict[str, str], tmp_path: Path, mode: str) -> None:
    """Whatever the user has set for other clusters; the processes that are meant to join it do. No file holds the token."""
    done = run(OWN, tmp_path, bare | ({"RAY_AUTH_MODE": mode} if mode else {}), JOIN)
    assert "guarded True token" in done.stdout, done.stderr
    assert "joined" in done.stdout
    assert not (Path(bare["HOME"]) / ".ray/auth_token").exists()


@pytest.mark.parametrize("place", ["long" * 20, "gone"])
def test_a_temporary_folder_that_is_too_long_for_sockets_or_not_there(tmp_path: Path, place: str) -> None:
    """As Slurm names one for each job."""
    temporary = tmp_path / place
    if place != "gone":
        temporary.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"TMPDIR": str(temporary), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", JOIN], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("joined")
    (line,) = (line for line in done.stderr.splitlines() if "no place for Ray's sockets" in line)
    assert str(temporary) in line
    assert not Path(re.search(r": (/tmp/\S+) is used", line)[1]).exists()
