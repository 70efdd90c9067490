"""A tracking server that is slow, loses answers, restarts or is away for a while: a delay, and nothing else."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Run

from mlops.connection import connect
from mlops.sync import sync
from mlops.tracking import LiveRun, record_figures, record_network
from tests.faults.relay import Relay, relay
from tests.mlops.conftest import REPOSITORY
from tests.mlops.mlflow_server import free_port, server
from tests.mlops.records import about, figure, write_figures, write_network


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("server")) as uri:
        yield uri


@pytest.fixture
def between(address: str, demo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """The way to the server, which the project takes; its experiment is the test's own."""
    params = demo / "params.yaml"
    params.write_text(params.read_text().replace("experiment: syncmri", f"experiment: {demo.parent.name}"))
    with relay(address) as found:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", found.uri)
        yield found


def trained(root: Path) -> None:
    write_network(root)
    write_figures(root, "privacy-ddpm", "ddpm", {"mia_auc": figure(0.5, 0.4, 0.6, 40)})


def runs(root: Path) -> list[Run]:
    tracking = connect(root)
    return list(tracking.client.search_runs([tracking.experiment]))


def whole(root: Path) -> None:
    (run,) = runs(root)
    history = connect(root).client.get_metric_history(run.info.run_id, "train_loss")
    assert sorted(point.step for point in history) == [10, 20, 30]
    assert run.data.metrics["privacy/mia_auc"] == 0.5
    assert run.info.status == "FINISHED"


def test_an_answer_that_is_lost_makes_no_second_run(demo: Path, between: Relay) -> None:
    lost = []

    def lose(request: bytes) -> bool:
        if lost or b"runs/create" not in request:
            return False
        lost.append(request)
        return True

    between.lose = lose
    trained(demo)
    record_network(demo, "ddpm")
    record_figures(demo, "privacy-ddpm")
    assert lost
    whole(demo)


def test_a_slow_server_takes_little_of_a_trainings_time(demo: Path, between: Relay) -> None:
    connect(demo)
    between.delay = 0.5
    live = LiveRun(demo, about(), every=0.1)
    waited = []
    for step in range(1, 41):
        time.sleep(0.1)  # the work of an epoch
        before = time.monotonic()
        live.log(step, {"train_loss": 1 / step})
        waited.append(time.monotonic() - before)
    assert sum(waited[1:]) < 0.05 * sum(waited)  # once, at the beginning
    between.delay = 0.0
    live.close()
    (run,) = runs(demo)
    assert len(connect(demo).client.get_metric_history(run.info.run_id, "train_loss")) == 40


def test_a_server_that_is_away_for_some_seconds_costs_a_delay(
    demo: Path, between: Relay, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(demo)
    between.up = False
    threading.Timer(8, lambda: setattr(between, "up", True)).start()
    record_network(demo, "ddpm")
    record_figures(demo, "privacy-ddpm")
    assert "warning" not in capsys.readouterr().err
    whole(demo)


def test_a_restart_between_two_stages_is_not_noticed(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    trained(demo)
    with server(tmp_path / "server", port):
        record_network(demo, "ddpm")
    with server(tmp_path / "server", port):
        record_figures(demo, "privacy-ddpm")
        whole(demo)


def test_what_was_logged_while_the_server_was_down_is_delivered_later(
    demo: Path, between: Relay, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    trained(demo)
    between.up = False
    record_network(demo, "ddpm")
    tried = between.refused
    for _ in range(20):  # stages that follow
        record_figures(demo, "privacy-ddpm")
    assert between.refused <= 2 * tried  # they do not all try
    assert capsys.readouterr().err.count("warning:") == 21
    between.up = True
    sync(demo)
    whole(demo)


def test_a_pipeline_without_its_server_ends_well(demo: Path, between: Relay) -> None:
    """The whole command, at a server that nobody answers: exit status 0, warnings, and later everything is there."""
    between.up = False
    (demo / "dvc.yaml").write_text("stages:\n  only:\n    cmd: echo done > out.txt\n    outs: [out.txt]\n")
    trained(demo)
    shutil.rmtree(demo / ".dvc")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q", "-f"]):
        subprocess.run(command, cwd=demo, check=True)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "run", "only"], cwd=demo, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "syncmri sync" in done.stderr
    between.up = True
    sync(demo)
    whole(demo)
