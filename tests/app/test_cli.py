import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cmr.raw import add_acdc_patient
from tests.mlops.conftest import REPOSITORY
from tests.mlops.records import write_network


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project under git and DVC, with one stage that makes the report."""
    shutil.copytree(REPOSITORY / "profiles", tmp_path / "profiles")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=tmp_path, check=True)
    command = "mkdir -p reports/release && echo a report | tee reports/report.html > reports/release/report.html"
    (tmp_path / "dvc.yaml").write_text(
        f"stages:\n  report:\n    cmd: {command}\n    outs: [reports/report.html, reports/release]\n"
    )
    return tmp_path


def syncmri(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment |= {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "120", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *words], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_help_is_quick_and_names_every_command(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = syncmri(tmp_path, "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("configure", "doctor", "models", "run", "sync", "tune", "--version"))
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize("command", ["configure", "doctor", "models", "run", "sync"])
def test_every_command_has_help(tmp_path: Path, command: str) -> None:
    done = syncmri(tmp_path, command, "--help")
    assert done.returncode == 0
    assert f"{command} [OPTIONS]" in done.stdout


def test_version(tmp_path: Path) -> None:
    done = syncmri(tmp_path, "--version")
    assert done.returncode == 0
    assert done.stdout.startswith("syncmri")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["configure", "demo", "--set", "slices.sise=3"], "Did you mean 'slices.size'?"),
        (["configure", "demmo"], "Did you mean 'demo'?"),
        (["configure", "real", "--acdc", "nowhere"], "doesn't exist"),
        (["run"], "syncmri configure demo"),
        (["sync"], "syncmri configure demo"),
    ],
)
def test_a_fault_of_the_user_is_one_message_and_status_1(project: Path, words: list[str], expected: str) -> None:
    done = syncmri(project, *words)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (project / "params.yaml").exists()


def test_outside_of_a_checkout(tmp_path: Path) -> None:
    done = syncmri(tmp_path, "run")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Change into your checkout" in done.stderr


def test_an_unknown_command_is_status_2(tmp_path: Path) -> None:
    assert syncmri(tmp_path, "configgure").returncode == 2


@pytest.mark.slow
def test_configure_run_and_sync(project: Path) -> None:
    done = syncmri(project, "configure", "demo")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Wrote params.yaml for the profile demo")
    write_network(project)
    done = syncmri(project, "run", "report", "--force")
    assert done.returncode == 0, done.stderr
    in_house, release = (project / "reports" / name for name in ("report.html", "release/report.html"))
    assert done.stdout.splitlines()[-2:] == [f"Report, in-house: {in_house}", f"Report for release: {release}"]
    assert "1 networks and 0 figure files" in done.stdout
    done = syncmri(project, "sync")
    assert done.returncode == 0, done.stderr
    assert "mlflow.db: 1 networks" in done.stdout


@pytest.mark.slow
def test_a_failing_stage_gives_the_status_of_dvc(project: Path) -> None:
    (project / "params.yaml").write_text("profile: none\n")
    (project / "dvc.yaml").write_text("stages:\n  report:\n    cmd: exit 7\n")
    done = syncmri(project, "run")
    assert done.returncode not in (0, 1)
    assert "goes on from there" in done.stderr
    assert "Report" not in done.stdout


@pytest.mark.slow
def test_doctor_fails_where_something_needed_is_missing(project: Path) -> None:
    done = syncmri(project, "doctor")
    assert done.returncode == 1
    assert "fail  params.yaml" in done.stdout
    assert "ok    Python" in done.stdout


@pytest.mark.slow
def test_mlflow_run_is_the_parent_of_the_trainings(project: Path) -> None:
    """``mlflow run`` as a user types it, on the project's own MLproject file."""
    assert syncmri(project, "configure", "demo").returncode == 0
    write_network(project)
    shutil.copyfile(REPOSITORY / "MLproject", project / "MLproject")
    shutil.copyfile(REPOSITORY / "python_env.yaml", project / "python_env.yaml")
    uri = f"sqlite:///{project / 'mlflow.db'}"
    activated = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": activated, "PYTHONPATH": str(REPOSITORY), "MLFLOW_TRACKING_URI": uri}
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    command = [sys.executable, "-m", "mlflow", "run", ".", "--env-manager", "local", "--experiment-name", "syncmri"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("syncmri")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    (parent,) = (run for name, run in runs.items() if name != "ddpm")
    assert runs["ddpm"].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert "train_loss" not in parent.data.metrics


@pytest.mark.parametrize("command", ["configure", "run"])
def test_links_to_what_was_not_fetched_are_named_before_anything_runs(project: Path, tmp_path: Path, command: str) -> None:
    add_acdc_patient(tmp_path / "acdc", "training", "patient001")
    words = ["configure", "real", "--acdc", str(tmp_path / "acdc")]
    if command == "run":
        assert syncmri(project, *words).returncode == 0
        words = ["run"]
    link = tmp_path / "acdc/training/patient001/patient001_4d.nii.gz"
    link.symlink_to("../../.git/annex/objects/none")
    done = syncmri(project, *words)
    assert done.returncode == 1
    assert "1 links lead to files that aren't there" in done.stderr
    assert str(link) in done.stderr
    assert "datalad get" in done.stderr
    assert "Traceback" not in done.stderr
