import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from cmr.errors import DataError
from mlops.connection import Tracking, TrackingError, connect, flat, tracking_uri
from mlops.sync import TABLE, sync
from mlops.tracking import LiveRun, record_figures, record_network
from tests.mlops.conftest import REPOSITORY
from tests.mlops.mlflow_server import free_port, server
from tests.mlops.records import RUN_KEY, about, figure, write_figures, write_network


def found(root: Path, run_key: str = RUN_KEY) -> Run:
    run = connect(root).find(run_key)
    assert run is not None
    return run


def curve(tracking: Tracking, run: Run, name: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in tracking.client.get_metric_history(run.info.run_id, name))


def figure_table(root: Path, run_key: str = RUN_KEY) -> list[dict[str, Any]]:
    tracking, run = connect(root), found(root, run_key)
    table = json.loads(Path(tracking.client.download_artifacts(run.info.run_id, TABLE)).read_text())
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def everything(root: Path) -> dict[str, Any]:
    """All that MLflow holds for the project, in comparable form."""
    tracking = connect(root)
    content = {}
    for run in tracking.client.search_runs([tracking.experiment]):
        history = {name: tracking.client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        points = {name: [(point.step, point.timestamp, point.value) for point in curve] for name, curve in history.items()}
        pictures = [item.path for item in tracking.client.list_artifacts(run.info.run_id, "pictures")]
        inputs = [(given.dataset.name, given.dataset.digest) for given in run.inputs.dataset_inputs]
        record = (run.info.run_name, run.info.status, points, run.data.params, run.data.tags, pictures, inputs)
        content[run.info.run_id] = record
    return content


def test_a_network_becomes_a_run(demo: Path) -> None:
    write_network(demo)
    record_network(demo, "ddpm")
    tracking, run = connect(demo), found(demo)
    assert (run.info.run_name, run.info.status) == ("ddpm", "FINISHED")
    assert curve(tracking, run, "train_loss") == [(10, 0.9), (20, 0.5), (30, 0.4)]
    assert curve(tracking, run, "validation") == [(20, 0.25)]  # NaN is no point
    assert run.data.params["network.widths"] == "[8, 16]"
    assert len(run.data.params["network.long"]) == 500
    assert run.data.metrics["best/score"] == 0.25
    assert run.data.metrics["cost/train_seconds"] == 4.5
    assert run.info.end_time - run.info.start_time == 4500
    assert run.data.tags["seed"] == "42"
    assert run.data.tags["profile"] == "demo"
    assert run.data.tags["content/data/cohort/train"] == "c0ffee"
    assert [item.path for item in tracking.client.list_artifacts(run.info.run_id, "pictures")] == ["pictures/drawn.png"]


def test_database_and_artifacts_lie_in_the_project_wherever_one_works(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (demo / "mlflow.db").unlink()
    write_network(demo)
    (demo / "below").mkdir()
    monkeypatch.chdir(demo / "below")
    record_network(Path(".."), "ddpm")
    assert (demo / "mlflow.db").is_file()
    assert list((demo / "mlartifacts").rglob("drawn.png"))
    assert not (demo / "below" / "mlruns").exists()


def test_git_revision_and_data_versions_are_tags(versioned: Path, demo: Path) -> None:
    write_network(demo)
    outs = [{"path": "data/cohort/train", "md5": "123abc.dir"}, {"path": "other", "md5": "456"}]
    (demo / "dvc.lock").write_text("stages: {}\n")
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", "-C", str(demo)]
    subprocess.run([*git, "add", "params.yaml", "dvc.lock"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "params"], check=True)
    (demo / "dvc.lock").write_text(json.dumps({"stages": {"cohort": {"outs": outs}}}))  # JSON is YAML
    revision = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    record_network(demo, "ddpm")
    tags = found(demo).data.tags
    assert tags["mlflow.source.git.commit"] == revision
    assert tags["dvc/data/cohort/train"] == "123abc.dir"
    assert tags["git.dirty"] == "false"  # dvc.lock changes with every stage
    (given,) = found(demo).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("data/cohort/train", "123abc.dir")
    assert (given.tags[0].key, given.tags[0].value) == ("mlflow.data.context", "training")
    write_network(demo, run_key="b" * 64)
    (demo / "params.yaml").write_text((demo / "params.yaml").read_text() + "\n")
    record_network(demo, "ddpm")
    assert found(demo, "b" * 64).data.tags["git.dirty"] == "true"


def test_figures_land_in_the_run_of_their_network(demo: Path) -> None:
    write_network(demo)
    ssim = {"ssim": figure(0.7, 0.6, 0.8, 40), "floor": {"ssim": figure(0.5, 0.4, 0.6, 40)}}
    write_figures(demo, "fidelity-ddpm", "ddpm", {**ssim, "fid": {"value": None, "reason": "no observations"}})
    record_figures(demo, "fidelity-ddpm")  # makes the run, if the tracking server was down when the network was trained
    run = found(demo)
    metrics = run.data.metrics
    assert metrics["fidelity/ssim"] == 0.7
    assert (metrics["fidelity/ssim/low"], metrics["fidelity/ssim/high"], metrics["fidelity/ssim/n"]) == (0.6, 0.8, 40)
    assert not [name for name in metrics if "floor" in name]
    assert "fidelity/fid" not in metrics
    assert run.data.tags["missing/fidelity/fid"] == "no observations"
    assert metrics["train_loss"] == 0.4
    assert [row for row in figure_table(demo) if row["figure"].startswith("fidelity/")] == [
        {"figure": "fidelity/fid", "value": None, "ci_low": None, "ci_high": None, "n": None, "reason": "no observations"},
        {"figure": "fidelity/floor_ssim", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 40, "reason": None},
        {"figure": "fidelity/ssim", "value": 0.7, "ci_low": 0.6, "ci_high": 0.8, "n": 40, "reason": None},
    ]


def test_utility_goes_to_the_segmenter_and_to_the_generator_behind_it(demo: Path) -> None:
    write_network(demo)
    write_network(demo, "segmenter/ddpm-full", "b" * 64)
    write_network(demo, "segmenter/acdc-real", "c" * 64)
    dice = figure(0.8, 0.7, 0.9, 10)
    block = {"mnms": {"clinical": {"dice": dice}}, "acdc": {"paper": {"dice": dice}}}
    worse = {"mnms": {"clinical": {"dice": figure(0.4, 0.3, 0.5, 10)}}}
    write_figures(demo, "utility", None, {"acdc-real": block, "ddpm-full": worse, "ddpm-acdc": worse})
    sync(demo)
    assert found(demo).data.metrics["utility/full_dice"] == 0.4
    assert found(demo, "b" * 64).data.metrics["utility/dice"] == 0.4
    assert found(demo, "c" * 64).data.metrics["utility/dice"] == 0.8
    assert found(demo, "c" * 64).data.metrics["utility_paper/dice_on_acdc"] == 0.8


def test_figures_of_no_network_and_of_an_earlier_training_are_left_alone(demo: Path) -> None:
    write_network(demo)
    write_figures(demo, "ingest-acdc", None, {"frames": 12})
    write_figures(demo, "fidelity-ddpm", "ddpm", {"ssim": figure(0.7, 0.6, 0.8, 40)}, run_key="of another training")
    write_figures(demo, "privacy-ldm", "ldm", {"copies": figure(0.1, 0, 0.2, 40)})
    sync(demo)
    (content,) = everything(demo).values()
    assert not any("/" in name and not name.startswith(("best/", "cost/")) for name in content[2])


def test_a_second_sync_changes_nothing(demo: Path) -> None:
    write_network(demo)
    write_network(demo, "masks", "d" * 64)
    write_figures(
        demo, "fidelity-ddpm", "ddpm", {"ssim": figure(0.7, 0.6, 0.8, 40), "fid": {"value": None, "reason": "no observations"}}
    )
    done = sync(demo)
    assert (done.networks, done.figures) == (2, 1)
    first = everything(demo)
    sync(demo)
    record_network(demo, "ddpm")
    record_figures(demo, "fidelity-ddpm")
    assert everything(demo) == first
    assert len(first) == 2


def test_a_fresh_database_is_filled_from_the_records(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_network(demo)
    write_figures(demo, "fidelity-ddpm", "ddpm", {"ssim": figure(0.7, 0.6, 0.8, 40)})
    sync(demo)
    (before,) = everything(demo).values()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{demo / 'fresh.db'}")
    shutil.rmtree(demo / "mlartifacts")
    sync(demo)
    (after,) = everything(demo).values()
    assert after[2]["train_loss"] == before[2]["train_loss"]
    assert after[2]["fidelity/ssim"][0][2] == 0.7
    assert after[3:] == before[3:]


def test_a_figure_that_changes_goes_and_comes_back(demo: Path) -> None:
    write_network(demo)
    for value in (figure(0.7, 0.6, 0.8, 40), {"value": None, "reason": "no observations"}, figure(0.9, 0.8, 1.0, 40)):
        write_figures(demo, "fidelity-ddpm", "ddpm", {"ssim": value})
        record_figures(demo, "fidelity-ddpm")
        run = found(demo)
        if value["value"] is None:
            assert math.isnan(run.data.metrics["fidelity/ssim"])
            assert math.isnan(run.data.metrics["fidelity/ssim/low"])
            assert run.data.tags["missing/fidelity/ssim"] == "no observations"
        else:
            assert run.data.metrics["fidelity/ssim"] == value["value"]
            assert "missing/fidelity/ssim" not in run.data.tags
        time.sleep(0.005)  # the newest of two values at a step is told by their milliseconds


def test_a_retraining_with_other_settings_is_another_run(demo: Path) -> None:
    write_network(demo)
    sync(demo)
    write_network(demo, run_key="e" * 64)
    sync(demo)
    assert len(everything(demo)) == 2


def test_a_live_run_leaves_no_doubles(demo: Path) -> None:
    live = LiveRun(demo, about(), every=0)
    live.log(10, {"train_loss": 0.9, "validation": math.nan})
    live.log(20, {"train_loss": 0.5})
    live.close()
    assert found(demo).info.status == "RUNNING"
    resumed = LiveRun(demo, about(), every=0)  # killed, and resumed from a state older than the last point
    resumed.log(20, {"train_loss": 0.5})
    resumed.close()
    write_network(demo)
    record_network(demo, "ddpm")
    tracking, run = connect(demo), found(demo)
    assert curve(tracking, run, "train_loss") == [(10, 0.9), (20, 0.5), (30, 0.4)]
    assert run.info.status == "FINISHED"
    assert len(everything(demo)) == 1


def test_a_live_run_sends_in_batches(demo: Path) -> None:
    live = LiveRun(demo, about(), every=3600)
    for step in range(1, 2501):
        live.log(step, {"train_loss": 1 / step})
    assert len(curve(connect(demo), found(demo), "train_loss")) == 1
    live.close()
    assert len(curve(connect(demo), found(demo), "train_loss")) == 2500


def test_runs_of_a_pipeline_lie_under_its_parent(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCMRI_PARENT_RUN_ID", "0" * 32)
    write_network(demo)
    record_network(demo, "ddpm")
    assert found(demo).data.tags["mlflow.parentRunId"] == "0" * 32


@pytest.mark.slow
def test_many_processes_that_meet_a_new_database(demo: Path) -> None:
    (demo / "mlflow.db").unlink()
    code = "import sys; from pathlib import Path; from mlops import tracking; tracking.record_network(Path('.'), sys.argv[1])"
    names = [f"net{number}" for number in range(3)]
    for number, name in enumerate(names):
        write_network(demo, name, str(number) * 64)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    started = [subprocess.Popen([sys.executable, "-c", code, name], cwd=demo, env=environment) for name in names]
    assert [process.wait(120) for process in started] == [0, 0, 0]
    assert sorted(content[0] for content in everything(demo).values()) == names


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("runs/ddpm/run.json", "{", "run.json: not readable as JSON"),
        ("runs/ddpm/run.json", "{}", "lacks name, run_key"),
        ("runs/ddpm/history.csv", "", "history.csv: not readable as CSV"),
        ("reports/figures/fidelity-ddpm.json", "[]", "expected a JSON object"),
    ],
)
def test_broken_records_are_named(demo: Path, file: str, text: str, expected: str) -> None:
    write_network(demo)
    write_figures(demo, "fidelity-ddpm", "ddpm", {})
    (demo / file).write_text(text)
    with pytest.raises(DataError, match=re.escape(expected)):
        sync(demo)


def test_a_server_that_is_down_costs_a_warning(
    demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    write_network(demo)
    write_figures(demo, "fidelity-ddpm", "ddpm", {"ssim": figure(0.7, 0.6, 0.8, 40)})
    live = LiveRun(demo, about(), every=0.5)
    started = time.monotonic()
    for step in range(100):
        live.log(step, {"train_loss": 1.0})
    live.close()
    record_network(demo, "ddpm")
    record_figures(demo, "fidelity-ddpm")
    assert time.monotonic() - started < 15
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 3
    assert all("syncmri sync" in line for line in warnings)
    with pytest.raises(TrackingError):
        sync(demo)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    sync(demo)
    assert found(demo).data.metrics["fidelity/ssim"] == 0.7


def test_a_database_that_is_no_database_costs_a_warning(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (demo / "mlflow.db").write_text("not a database" * 100)
    write_network(demo)
    record_network(demo, "ddpm")
    assert "cannot be used now" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_server(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_network(demo)
    write_figures(demo, "fidelity-ddpm", "ddpm", {"ssim": figure(0.7, 0.6, 0.8, 40)})
    with server(tmp_path / "server") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert tracking_uri(demo) == uri
        (demo / "mlflow.db").unlink()
        sync(demo)
        first = everything(demo)
        sync(demo)
        assert everything(demo) == first
        (content,) = first.values()
        assert content[2]["fidelity/ssim"][0][2] == 0.7
        assert content[5] == ["pictures/drawn.png"]
        assert len(MlflowClient(uri).search_experiments(filter_string="name = 'syncmri'")) == 1
    assert not (demo / "mlflow.db").exists()


def test_stages_that_only_record_start_quickly() -> None:
    code = "import mlops.tracking, sys; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert (
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3
    )  # of computing, whatever else the machine does


def test_parameters_are_flat_text() -> None:
    assert flat({"a": {"b": 1, "c": {"d": None}}, "e": (1, 2)}) == {"a.b": "1", "a.c.d": "None", "e": "(1, 2)"}
