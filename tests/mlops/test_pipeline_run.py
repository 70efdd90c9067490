import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mlflow.entities import Run, ViewType

from mlops.connection import connect
from mlops.pipeline_run import pipeline_run
from mlops.sync import sync
from mlops.tracking import record_network
from tests.mlops.mlflow_server import free_port
from tests.mlops.records import RUN_KEY, write_network


def runs(root: Path, view: int = ViewType.ACTIVE_ONLY) -> dict[str, Run]:
    tracking = connect(root)
    return {run.info.run_name: run for run in tracking.client.search_runs([tracking.experiment], run_view_type=view)}


def work(root: Path) -> None:
    """What a pipeline leaves when it trains a network now."""
    path = write_network(root) / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"created": datetime.now(UTC).isoformat(), "seconds": 0}))
    outs = [{"path": "runs/ddpm", "md5": os.urandom(4).hex()}, {"path": "data/cohort/train", "md5": "c0ffee.dir"}]
    (root / "dvc.lock").write_text(json.dumps({"stages": {"train@ddpm": {"outs": outs}}}))  # JSON is YAML


def test_trainings_lie_under_the_run_of_their_pipeline(demo: Path) -> None:
    with pipeline_run(demo, ["report", "--force"]):
        work(demo)
        record_network(demo, "ddpm")
    found = runs(demo)
    parent = found["pipeline demo"]
    assert found["ddpm"].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["command"] == "dvc repro report --force"
    assert parent.data.tags["profile"] == "demo"
    assert [item.path for item in connect(demo).client.list_artifacts(parent.info.run_id)] == ["params.yaml"]
    assert "SYNCMRI_PARENT_RUN_ID" not in os.environ


def test_a_pipeline_that_had_nothing_to_do_leaves_no_run(demo: Path) -> None:
    with pipeline_run(demo, []):
        pass
    assert runs(demo) == {}


def test_how_it_ended_is_told(demo: Path) -> None:
    with pytest.raises(SystemExit), pipeline_run(demo, []):
        raise SystemExit(1)
    assert runs(demo)["pipeline demo"].info.status == "FAILED"
    with pytest.raises(KeyboardInterrupt), pipeline_run(demo, []):
        raise KeyboardInterrupt
    tracking = connect(demo)
    states = [run.info.status for run in tracking.client.search_runs([tracking.experiment])]
    assert sorted(states) == ["FAILED", "KILLED"]


def test_the_run_of_mlflow_is_the_parent(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = connect(demo)
    given = tracking.client.create_run(tracking.experiment, run_name="of mlflow run")
    monkeypatch.setenv("MLFLOW_RUN_ID", given.info.run_id)
    with pipeline_run(demo, []):
        assert "MLFLOW_RUN_ID" not in os.environ  # a child that saw it would write into this run
        work(demo)
        record_network(demo, "ddpm")
    found = runs(demo)
    assert found.keys() == {"ddpm", "of mlflow run"}
    assert found["ddpm"].data.tags["mlflow.parentRunId"] == given.info.run_id
    assert found["of mlflow run"].data.tags["kind"] == "pipeline"
    assert found["of mlflow run"].info.status == "RUNNING"  # `mlflow run` ends it


def test_the_run_of_mlflow_in_another_experiment_is_no_parent(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", connect(demo).client.create_run("0").info.run_id)
    with pipeline_run(demo, []):
        work(demo)
        record_network(demo, "ddpm")
    found = runs(demo)
    assert found["ddpm"].data.tags["mlflow.parentRunId"] == found["pipeline demo"].info.run_id


@pytest.mark.parametrize("state", ["ended", "deleted", "of another database", "no id"])
def test_a_leftover_run_id_is_ignored_with_a_line(
    demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    """A Slurm job inherits the environment of the shell that it was sent from."""
    tracking = connect(demo)
    old = tracking.client.create_run(tracking.experiment, run_name="old").info.run_id
    if state == "ended":
        tracking.client.set_terminated(old)
    if state == "deleted":
        tracking.client.delete_run(old)
    named = {"of another database": "0" * 32, "no id": "$RUN/../x y"}.get(state, old)
    monkeypatch.setenv("MLFLOW_RUN_ID", named)
    monkeypatch.setenv("SYNCMRI_PARENT_RUN_ID", old)
    with pipeline_run(demo, []):
        assert os.environ["SYNCMRI_PARENT_RUN_ID"] != old
        work(demo)
        record_network(demo, "ddpm")
    said = capsys.readouterr().err
    assert "MLFLOW_RUN_ID names" in said
    assert "ignored" in said
    assert "warning: MLflow" not in said
    found = runs(demo)
    assert found["ddpm"].data.tags["mlflow.parentRunId"] == found["pipeline demo"].info.run_id
    assert "kind" not in tracking.client.get_run(old).data.tags


def test_a_server_that_is_back_at_the_end_gets_it_all(
    demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pipeline_run(demo, []):
        work(demo)
        record_network(demo, "ddpm")
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        sync(demo)
    found = runs(demo)
    assert found["ddpm"].data.tags["mlflow.parentRunId"] == found["pipeline demo"].info.run_id
    assert connect(demo).find(RUN_KEY) is not None
    assert capsys.readouterr().err.count("warning: MLflow") == 2


def test_a_project_without_parameters_tells_so_by_itself(project: Path) -> None:
    with pipeline_run(project, []):
        pass
