"""Sweeps that are killed, that lose their cluster, their trials or their tracking server, and one of every network."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mlops.settings import load_params
from mlops.tuning.studies import load
from mlops.tuning.study import ENDED, Study, unfinished
from tests.pipelines import sweep_project
from tests.pipelines.project import REPOSITORY, environment, run
from tests.pipelines.sweep_project import SPACE

pytestmark = pytest.mark.slow

PATIENCE = 900  # seconds
LONG = {"masks__search__max_steps": "400", "masks__train__validations": "100"}  # long enough to be killed on the way
CODE = {"PYTHONPATH": str(REPOSITORY)}
OPEN = {"RAY_AUTH_MODE": "disabled"}  # a token that some earlier Ray left in the home folder would be asked for


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the networks that generators stand on."""
    root = sweep_project.build(tmp_path_factory.mktemp("complete") / "project", ldm__search__space=_with_autoencoder())
    run(root, "pipelines.segment", "mnms-real", **CODE)
    for name in ("ddpm", "ldm", "fm"):
        run(root, "pipelines.train_autoencoder", name, **CODE)
    return root


@pytest.fixture
def project(complete: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(complete, tmp_path / "project", symlinks=True))


def _with_autoencoder() -> str:
    return SPACE[:-1] + ", autoencoder.train.learning_rate: {low: 1.0e-3, high: 1.0e-2}}"


@contextmanager
def started(root: Path, *words: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A sweep on its way; whatever is left of it is killed at the end."""
    command = [sys.executable, "-m", "app.cli", "tune", *words]
    with (root / "sweep.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=root, env=environment() | CODE | variables, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, to the command and to the driver that it has started, at once; not to Ray, which has to notice by itself."""
    if process.poll() is None:
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.kill()
    process.wait()


def tune(root: Path, *words: str, **variables: str) -> str:
    """A sweep to its end."""
    return run(root, "app.cli", "tune", *words, **CODE, **variables)


def until(met: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, "the sweep ended too early"
        time.sleep(0.1)


def ended(root: Path, name: str) -> int:
    if not (root / ".syncmri/sweeps" / name / "trials").is_dir():
        return 0
    return sum(trial.state in ENDED for trial in load(root, name).all_trials())


def told(study: Study, number: int) -> list[dict[str, float]]:
    path = study.trial_folder(number) / "entries.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def trained_twice(study: Study, number: int) -> int:
    """How many entries of its training a trial has told more than once."""
    steps = [entry["step"] for entry in told(study, number) if "train_loss" in entry]
    return len(steps) - len(set(steps))


def trial_processes(root: Path) -> list[psutil.Process]:
    """The trainings of this project's trials that are alive."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words, place = process.info["cmdline"] or [], process.info["cwd"] or ""
        if "pipelines.trial" in words and place.startswith(str(root)):
            found.append(process)
    return found


def check_whole(root: Path, name: str, trials: int) -> None:
    """No trial is lost and none is there twice, in Optuna and in MLflow."""
    study = load(root, name)
    assert [trial.number for trial in study.all_trials()] == list(range(trials))
    assert not unfinished(study)
    found = sweep_project.nested(root, name)
    assert sorted(found) == [f"{name}/{number:03d}" for number in range(trials)]
    assert sweep_project.distinct(found)
    assert {one.info.status for one in found.values()} <= {"FINISHED", "FAILED"}
    for one in found.values():
        steps = sweep_project.curve(root, one, "train_loss")
        assert len(set(steps)) == len(steps)


def test_a_killed_driver_and_resume_lose_and_double_no_trial(tmp_path: Path) -> None:
    root = sweep_project.build(tmp_path / "project", **LONG)
    with started(root, "masks", "--trials", "4", "--concurrency", "2") as process:
        until(lambda: ended(root, "masks-1") >= 1, process)
        study = load(root, "masks-1")
        running = [trial for trial in study.all_trials() if trial.state not in ENDED]
        until(lambda: any(len(told(study, trial.number)) > 3 for trial in running) or ended(root, "masks-1") > 1)
        kill(process)
    before = [trial for trial in load(root, "masks-1").all_trials() if trial.state in ENDED]
    assert len(before) < 4
    until(lambda: not trial_processes(root))  # trainings end with their driver
    tune(root, "masks", "--resume", "--concurrency", "2")
    check_whole(root, "masks-1", 4)
    after = {trial.number: trial for trial in load(root, "masks-1").all_trials()}
    for trial in before:
        assert after[trial.number] == trial
    for trial in running:
        assert trained_twice(study, trial.number) <= 2  # a state is written at each entry: no more than the last interval


def test_with_one_trial_at_a_time_a_killed_study_proposes_what_a_whole_one_does(tmp_path: Path) -> None:
    root = sweep_project.build(tmp_path / "project", masks__search__max_steps="40", masks__train__validations="10")
    tune(root, "masks", "--trials", "4", "--concurrency", "1")
    with started(root, "masks", "--trials", "4", "--concurrency", "1") as process:
        until(lambda: ended(root, "masks-2") == 1 and len(load(root, "masks-2").all_trials()) == 2, process)
        kill(process)
    tune(root, "masks", "--resume", "--concurrency", "1")
    whole, killed = (load(root, name).all_trials() for name in ("masks-1", "masks-2"))
    assert [trial.values for trial in killed] == [trial.values for trial in whole]
    assert [trial.scores for trial in killed] == [trial.scores for trial in whole]


@pytest.mark.parametrize("network", ["segmenter", "ddpm", "ldm", "fm"])
def test_every_network_can_be_swept(project: Path, network: str) -> None:
    tune(project, network, "--trials", "3")
    check_whole(project, f"{network}-1", 3)
    assert {trial.state for trial in load(project, f"{network}-1").all_trials()} <= {"finished", "stopped early"}
    own = project / ".syncmri/sweeps" / f"{network}-1" / "trials/000/runs/autoencoder"
    assert (own.is_dir() and not own.is_symlink()) == (network == "ldm")  # whose space has a key of the autoencoder
    assert (project / "runs/segmenter/mnms-real/weights.safetensors").is_file()


@pytest.mark.parametrize(
    ("network", "objectives"),
    [("fm", "[frechet, adherence, membership]"), ("masks", "[shapes, valid_share, membership]")],
)
def test_several_objectives_give_a_front(project: Path, network: str, objectives: str) -> None:
    tune(project, network, "--trials", "4", "--objectives", "several", "--concurrency", "2")
    check_whole(project, f"{network}-1", 4)
    names = set(objectives.strip("[]").split(", "))
    for trial in load(project, f"{network}-1").all_trials():
        assert trial.state == "finished"  # nobody was stopped early
        assert trial.scores.keys() == names
    folder = project / "reports/sweeps" / f"{network}-1"
    for name in ("front.svg", "front.png", "trials.csv"):
        assert (folder / name).stat().st_size > 100
    refused = run(project, "app.cli", "tune", "apply", f"{network}-1", "--yes", check=False, **CODE)
    assert "choose a trial of its front with --trial" in refused


def test_kid_without_weights_is_refused_with_the_reason(project: Path) -> None:
    params = project / "params.yaml"
    text = params.read_text()
    place = text.index("\nfm:")
    params.write_text(text[:place] + text[place:].replace("metric: validation", "metric: kid", 1))
    output = run(project, "app.cli", "tune", "fm", "--trials", "2", check=False, **CODE)
    assert "weights" in output  # there is no place for them here
    assert "Traceback" not in output
    assert not list((project / ".syncmri/sweeps").glob("fm-*/trials/*"))


def test_trials_that_raise_or_diverge_are_failed_and_the_study_goes_on(tmp_path: Path) -> None:
    space = "{train.learning_rate: {choices: [1.0e-3, 1.0e+30]}, network.norm_groups: {choices: [8, 3]}}"  # 3 divides no width
    root = sweep_project.build(
        tmp_path / "project", masks__search__space=space, masks__train__gradient_clip="null", masks__train__warmup_steps="0"
    )
    tune(root, "masks", "--trials", "4", "--concurrency", "2")
    study = load(root, "masks-1")
    trials = study.all_trials()
    assert len(trials) == 4  # each of the four once
    for trial in trials:
        sound = trial.values["train.learning_rate"] < 1 and trial.values["network.norm_groups"] == 8
        assert (trial.state == "failed") != sound
    errors = {(trial.values["train.learning_rate"], trial.values["network.norm_groups"]): trial.error for trial in trials}
    assert "nan" in str(errors[1e30, 8]).lower() or "inf" in str(errors[1e30, 8]).lower()
    assert "norm_num_groups" in str(errors[1e-3, 3])
    states = {name: one.info.status for name, one in sweep_project.nested(root, "masks-1").items()}
    assert sorted(states.values()) == ["FAILED", "FAILED", "FAILED", "FINISHED"]


def test_a_trial_that_hangs_is_ended_and_a_killed_one_goes_on(tmp_path: Path) -> None:
    root = sweep_project.build(tmp_path / "project", **LONG, masks__search__silence_minutes="1")
    with started(root, "masks", "--trials", "2", "--concurrency", "2") as process:
        until(lambda: (root / ".syncmri/sweeps/masks-1/study.json").is_file(), process)
        study = load(root, "masks-1")
        until(lambda: all(len(told(study, number)) > 2 for number in (0, 1)), process)
        hanging, killed = sorted(trial_processes(root), key=lambda one: one.cwd())
        hanging.send_signal(signal.SIGSTOP)
        killed.kill()
        assert process.wait(PATIENCE) == 0
    first, second = study.all_trials()
    assert first.state == "failed"
    assert "no sign of life for 1 minutes" in str(first.error)
    assert not hanging.is_running()
    assert second.state == "finished"
    assert study.told(second)[-1]["step"] == 400
    assert trained_twice(study, 1) <= 2  # it did not begin anew


def test_the_head_is_killed_during_a_sweep(tmp_path: Path) -> None:
    root = sweep_project.build(tmp_path / "project", **LONG)
    words = ("masks", "--trials", "3", "--concurrency", "2")
    with head(6411) as (address, processes), started(root, *words, RAY_ADDRESS=address, **OPEN) as process:
        until(lambda: ended(root, "masks-1") >= 1, process)
        for one in processes():
            one.kill()
        assert process.wait(PATIENCE) != 0
    until(lambda: not trial_processes(root))
    with head(6412) as (address, _):
        tune(root, "masks", "--resume", RAY_ADDRESS=address, **OPEN)
    check_whole(root, "masks-1", 3)


@contextmanager
def head(port: int) -> Iterator[tuple[str, Callable[[], list[psutil.Process]]]]:
    """A Ray head of our own, and what finds its processes."""
    place = tempfile.mkdtemp(dir="/tmp", prefix="ray")  # the paths of sockets must be short

    def processes() -> list[psutil.Process]:
        return [one for one in psutil.process_iter(["cmdline"]) if any(place in word for word in one.info["cmdline"] or [])]

    words = ["start", "--head", f"--port={port}", "--num-cpus=2", f"--temp-dir={place}", "--object-store-memory=200000000"]
    words += ["--include-dashboard=false", "--disable-usage-stats"]
    ray = str(Path(sys.executable).parent / "ray")
    subprocess.run([ray, *words], check=True, capture_output=True, env=environment() | CODE | OPEN)
    try:
        yield f"127.0.0.1:{port}", processes
    finally:
        for one in processes():
            one.kill()
        shutil.rmtree(place, ignore_errors=True)


def test_a_tracking_server_that_is_down_costs_a_warning_and_gets_all_of_it_later(tmp_path: Path) -> None:
    root = sweep_project.build(tmp_path / "project")
    output = tune(root, "masks", "--trials", "2", MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    assert "cannot be used now" in output
    assert not unfinished(load(root, "masks-1"))
    run(root, "app.cli", "sync", **CODE)
    check_whole(root, "masks-1", 2)


def test_a_study_out_of_time_goes_on_and_can_be_made_longer(tmp_path: Path) -> None:
    root = sweep_project.build(tmp_path / "project", **LONG)
    output = tune(root, "masks", "--trials", "2", "--time", "0.4", "--concurrency", "2")
    if unfinished(load(root, "masks-1")):
        assert "--resume masks-1` goes on from here" in output
        tune(root, "masks", "--resume")
    check_whole(root, "masks-1", 2)
    tune(root, "masks", "--resume", "masks-1", "--trials", "3")
    check_whole(root, "masks-1", 3)


def test_dvc_experiments_work_on_the_same_parameters(tmp_path: Path) -> None:
    """``dvc exp run -S`` and ``dvc exp show``, and the sweep as a stage, on a checkout of the repository."""
    from tests.pipelines.project import checkout, configure, git

    root = checkout(tmp_path / "checkout")
    configure(root, masks__search__space=SPACE, masks__search__max_steps="8", masks__search__trials="2")
    run(root, "dvc", "repro", "train_masks")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first results")
    run(root, "dvc", "exp", "run", "-S", "masks.train.learning_rate=0.0005", "train_masks")
    assert load_params(root)["masks"]["train"]["learning_rate"] == 0.0005
    shown = json.loads(run(root, "dvc", "exp", "show", "--json"))
    assert "0.0005" in json.dumps(shown)
    configure(
        root, masks__search__space=SPACE, masks__search__max_steps="8", masks__search__trials="2", sweep__networks="[masks]"
    )
    run(root, "dvc", "repro", "tune@masks")  # and what sweeps of other networks stand on
    assert (root / "reports/sweeps/masks/trials.csv").is_file()
    assert os.path.getsize(root / "reports/sweeps/masks/history.png") > 1000
