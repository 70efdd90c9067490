"""Ten stages that log at once: nothing of it is lost, nothing is there twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.entities import Run

from mlops.connection import Tracking, connect
from mlops.sync import sync
from tests.mlops.conftest import REPOSITORY
from tests.mlops.mlflow_server import server
from tests.mlops.records import figure, write_figures, write_network

PROCESSES, POINTS, FIGURES = 10, 200, 30
STAGE = """
import sys
from pathlib import Path
from mlops.tracking import LiveRun, record_figures, record_network
from tests.mlops.records import about, write_figures, write_network

name, points = sys.argv[1], int(sys.argv[2])
key = name.ljust(64, "x")
live = LiveRun(Path("."), about(name, key), every=0.05)
for step in range(1, points + 1):
    live.log(step, {"train_loss": 1 / step, "validation": step})
live.close()
record_network(Path("."), name)
record_figures(Path("."), f"privacy-{name}")
"""


def network(number: int) -> str:
    return f"network{number}"


def log_at_once(root: Path) -> str:
    """What ten processes, each with a training and its figures, say on stderr."""
    for number in range(PROCESSES):
        rows = [f"{step},1,{1 / step},{step},0.001,{step}" for step in range(1, POINTS + 1)]
        history = "\n".join(["step,epoch,train_loss,validation,learning_rate,seconds", *rows]) + "\n"
        write_network(root, network(number), network(number).ljust(64, "x"), history)
        figures = {f"attack_{one}": figure(number + one / 100, 0, 1, 40) for one in range(FIGURES)}
        write_figures(root, f"privacy-{network(number)}", network(number), figures | {"mia_auc": figure(0.5, 0.4, 0.6, number)})
    command = [sys.executable, "-c", STAGE]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    started = [
        subprocess.Popen([*command, network(number), str(POINTS)], cwd=root, env=environment, stderr=subprocess.PIPE, text=True)
        for number in range(PROCESSES)
    ]
    told = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0] * PROCESSES, told
    return "".join(told)


def whole(tracking: Tracking, run: Run) -> None:
    """All points once, all figures, and the table."""
    number = int(run.info.run_name.removeprefix("network"))
    for name in ("train_loss", "validation"):
        steps = [point.step for point in tracking.client.get_metric_history(run.info.run_id, name)]
        assert sorted(steps) == list(range(1, POINTS + 1)), (run.info.run_name, name)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["privacy/mia_auc/n"] == number
    assert "syncmri.figures" in run.data.tags


def check(root: Path) -> None:
    tracking = connect(root)
    runs = tracking.client.search_runs([tracking.experiment])
    assert sorted(run.info.run_name for run in runs) == sorted(network(number) for number in range(PROCESSES))
    for run in runs:
        whole(tracking, run)


def test_on_sqlite(demo: Path) -> None:
    (demo / "mlflow.db").unlink()  # they meet a new database, too
    told = log_at_once(demo)
    assert "warning" not in told
    check(demo)
    sync(demo)
    check(demo)


def test_on_a_server(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(tmp_path / "server") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        told = log_at_once(demo)
        assert "warning" not in told
        check(demo)
