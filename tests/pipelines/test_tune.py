"""One small sweep as a user starts it: Ray, Optuna and MLflow are the real ones."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest

from mlops.settings import load_params
from mlops.tuning.studies import load
from tests.pipelines import sweep_project
from tests.pipelines.project import REPOSITORY, run

pytestmark = pytest.mark.slow

TRIALS = 3
SPACE = """{
  train.learning_rate: {low: 1.0e-3, high: 1.0e-2, log: true},
  network: {choices: [{widths: [8, 16], attention: [false, true]}, {widths: [8, 8], attention: [false, false]}]},
}"""


def syncmri(root: Path, *words: str, check: bool = True) -> str:
    return run(root, "app.cli", *words, check=check, PYTHONPATH=str(REPOSITORY), COLUMNS="160")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after ``syncmri tune masks``."""
    space = " ".join(SPACE.split())
    root = sweep_project.build(tmp_path_factory.mktemp("swept") / "project", masks__search__space=space)
    output = syncmri(root, "tune", "masks", "--trials", str(TRIALS), "--concurrency", "2")
    (root / "output.txt").write_text(output)
    return root


def test_every_trial_is_a_run_under_the_sweeps_own_with_its_values_curve_and_end(swept: Path) -> None:
    parent = sweep_project.runs(swept)["sweep masks-1"]
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best/score"] == max(trial.scores["score"] for trial in load(swept, "masks-1").all_trials())
    trials = sweep_project.nested(swept, "masks-1")
    assert sorted(trials) == [f"masks-1/{number:03d}" for number in range(TRIALS)]
    assert sweep_project.distinct(trials)
    for run_ in trials.values():
        assert run_.info.status == "FINISHED"
        steps = sweep_project.curve(swept, run_, "validation")
        assert steps == ([3, 6, 9, 12] if run_.data.tags["state"] == "finished" else [3, 6][: len(steps)])
    assert "finished" in {run_.data.tags["state"] for run_ in trials.values()}


def test_the_first_trial_is_what_the_pipeline_would_train_in_a_folder_of_its_own(swept: Path) -> None:
    study = load(swept, "masks-1")
    first = study.all_trials()[0]
    assert first.values["train.learning_rate"] == load_params(swept)["masks"]["train"]["learning_rate"]
    told = [json.loads(line) for line in (study.trial_folder(0) / "entries.jsonl").read_text().splitlines()]
    assert told[0]["step"] == 3
    assert not (swept / "runs").exists()
    assert not list(study.folder.rglob("*.safetensors"))
    assert not list(study.folder.rglob("*.pt"))


def test_the_report_has_every_trial_and_what_mattered(swept: Path) -> None:
    folder = swept / "reports/sweeps/masks-1"
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert len(rows) == TRIALS
    assert rows[0]["state"] == "finished"
    assert {path.name for path in folder.iterdir()} >= {"history.svg", "history.png", "importance.csv", "trials.csv"}
    output = (swept / "output.txt").read_text()
    assert f"best: masks-1/{int(rows[0]['trial']):03d} finished" in output
    assert "syncmri tune apply masks-1" in output


def test_it_is_listed_and_shown(swept: Path) -> None:
    assert "masks-1" in syncmri(swept, "tune", "list")
    shown = syncmri(swept, "tune", "show", "masks-1")
    assert shown.count("train.learning_rate") == TRIALS
    assert "all 3 trials have ended" in run(swept, "pipelines.tune", "masks", "--resume", "masks-1", PYTHONPATH=str(REPOSITORY))


def test_applying_shows_the_change_and_writes_the_values_alone(swept: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(swept, tmp_path / "project", symlinks=True))
    before = (root / "params.yaml").read_text()
    finished = [trial for trial in load(root, "masks-1").all_trials() if trial.state == "finished" and trial.number]
    if not finished:
        pytest.skip("only the present values reached the end")
    number = finished[0].number
    refused = syncmri(root, "tune", "apply", "masks-1", "--trial", str(number), check=False)  # no answer: nothing is written
    assert "+    learning_rate:" in refused
    assert (root / "params.yaml").read_text() == before
    syncmri(root, "tune", "apply", "masks-1", "--trial", str(number), "--yes")
    after = (root / "params.yaml").read_text()
    assert load_params(root)["masks"]["train"]["learning_rate"] == finished[0].values["train.learning_rate"]
    assert load_params(root)["masks"]["train"]["max_steps"] == 40
    assert [line.partition("#")[2] for line in after.splitlines()] == [line.partition("#")[2] for line in before.splitlines()]
    assert "already" in syncmri(root, "tune", "apply", "masks-1", "--trial", str(number))


def test_a_new_database_gets_the_study_again(swept: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(swept, tmp_path / "project", symlinks=True))
    expected = sweep_project.nested(root, "masks-1")
    os.remove(root / "mlflow.db")
    syncmri(root, "sync")
    found = sweep_project.nested(root, "masks-1")
    assert {name: one.data.params for name, one in found.items()} == {name: one.data.params for name, one in expected.items()}
    assert {name: one.data.metrics for name, one in found.items()} == {name: one.data.metrics for name, one in expected.items()}
    assert {name: one.info.status for name, one in found.items()} == {name: one.info.status for name, one in expected.items()}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mask"], "Did you mean 'masks'"),
        (["fm"], "`syncmri run segment@mnms-real train_autoencoder@fm` makes it"),
        (["masks", "--resume"], "no unfinished study"),
        (["masks", "masks-1"], "only --resume takes"),
        (["masks", "--resume", "masks-7"], "There are: masks-1"),
        (["fm", "--resume", "masks-1"], "is a study of masks"),
        (["masks", "--objectives", "all"], "expected one or several"),
        (["segmenter", "--objectives", "several"], "judged by validation alone"),
        (["apply", "masks-2"], "Did you mean 'masks-1'"),
        (["apply", "masks-1", "--trial", "77"], "has not finished trial 77"),
    ],
)
def test_what_cannot_be_done_is_said(swept: Path, words: list[str], expected: str) -> None:
    output = syncmri(swept, "tune", *words, check=False)
    assert expected in output.replace("\n", " ")
    assert "Traceback" not in output
