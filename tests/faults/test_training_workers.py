"""Trainings shared by two workers of a real Ray: alone on this machine, with a worker killed, with the command killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from safetensors.numpy import load_file

from tests.pipelines.project import checkout, configure, environment, run

STAGE = ("dvc", "repro", "--force", "--single-item", "train_masks")
LONG = {"masks__train__max_steps": "120", "masks__train__validations": "4"}
LIMIT = 600  # seconds a training may take


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny project whose masks were trained by one process, without Ray."""
    root = checkout(tmp_path_factory.mktemp("finished"))
    configure(root, **LONG)
    run(root, "dvc", "repro", "train_masks")
    return root


def _for_two(finished: Path, root: Path) -> Path:
    """A copy, to be trained anew by two workers."""
    shutil.copytree(finished, root, symlinks=True)
    configure(root, **LONG, train__workers="2")
    shutil.rmtree(root / "runs/masks")
    return root


@pytest.fixture
def project(finished, tmp_path):
    return _for_two(finished, tmp_path / "project")


@pytest.fixture(scope="module")
def together(finished, tmp_path_factory):
    """Trained by two workers without a fault."""
    root = _for_two(finished, tmp_path_factory.mktemp("together") / "project")
    run(root, *STAGE)
    assert _trained_on(root) == []
    return root


def _curve(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "runs/masks/history.csv")


def _weights(root: Path) -> np.ndarray:
    weights = load_file(root / "runs/masks/weights.safetensors")
    return np.concatenate([weights[name].ravel() for name in sorted(weights)])


def _same_result(root: Path, expected: Path) -> None:
    """The same numbers, whatever happened on the way: a state holds all that a training goes on from."""
    for column in ("step", "train_loss"):
        np.testing.assert_allclose(_curve(root)[column], _curve(expected)[column], rtol=1e-6)
    np.testing.assert_allclose(_weights(root), _weights(expected), atol=1e-6)
    assert not list((root / ".syncmri/state").glob("*.pt"))


def _start(root: Path, command: Sequence[str] = STAGE) -> subprocess.Popen:
    with (root / ".test.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=root,
            env=environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _said(root: Path) -> str:
    return (root / ".test.log").read_text()


def _wait(until: Callable[[], bool], running: subprocess.Popen, root: Path) -> None:
    end = time.monotonic() + LIMIT
    while not until():
        assert running.poll() is None, f"it ended too early:\n{_said(root)[-4000:]}"
        assert time.monotonic() < end, f"it never came to that:\n{_said(root)[-4000:]}"
        time.sleep(0.02)


def _trained_on(root: Path) -> list[psutil.Process]:
    """The workers of this project's trainings: Ray's processes whose working directory is the project's."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or [])
        if process.info["cwd"] == str(root.resolve()) and "ray::" in words and "TrainWorker" in words:
            found.append(process)
    return found


def _states(root: Path) -> list[Path]:
    return list((root / ".syncmri/state").glob("*.pt"))


def test_two_workers_and_one_process_make_the_same_network(finished, together):
    """To rounding, which Adam makes grow with the steps; ``tests/models/test_parallel.py`` compares first steps closely."""
    one, two = _curve(finished), _curve(together)
    assert list(one["step"]) == list(two["step"])
    np.testing.assert_allclose(two["train_loss"][:16], one["train_loss"][:16], rtol=2e-4)
    np.testing.assert_allclose(two["train_loss"], one["train_loss"], rtol=1e-2)  # another batch changes a loss by tenths
    assert np.linalg.norm(_weights(together) - _weights(finished)) < 0.05 * np.linalg.norm(_weights(finished))


def test_a_killed_worker_costs_what_came_after_the_last_state(together, project):
    running = _start(project)
    _wait(lambda: len(_states(project)) == 1 and len(_trained_on(project)) == 2, running, project)
    victim = _trained_on(project)[-1]
    victim.kill()
    assert running.wait(LIMIT) == 0, _said(project)[-4000:]
    _same_result(project, together)
    assert not victim.is_running()


def test_the_workers_end_with_a_killed_command_and_the_next_one_goes_on(together, project):
    running = _start(project)
    _wait(lambda: len(_states(project)) == 1 and len(_trained_on(project)) == 2, running, project)
    workers = _trained_on(project)
    os.killpg(running.pid, signal.SIGKILL)  # DVC and the stage
    running.wait()
    gone, alive = psutil.wait_procs(workers, timeout=60)
    assert len(gone) == 2, f"still there: {alive}"
    assert _states(project), "the training ended before it could be killed"
    assert not (project / "runs/masks/weights.safetensors").exists()
    run(project, *STAGE)
    _same_result(project, together)


def test_a_state_cut_short_is_passed_over_for_the_one_before(together, project):
    running = _start(project)
    _wait(lambda: len(list((project / ".syncmri/state").glob("*.previous"))) == 1, running, project)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    end = time.monotonic() + 60
    while _trained_on(project) and time.monotonic() < end:
        time.sleep(0.1)
    (state,) = _states(project)
    state.write_bytes(state.read_bytes()[:1000])
    run(project, *STAGE)
    _same_result(project, together)


def test_an_error_for_the_user_comes_through_as_itself(project):
    shutil.rmtree(project / "data/cohort/val")
    said = run(project, "pipelines.train_masks", check=False)
    assert "error: " in said
    assert "data/cohort/val" in said
    assert "Traceback" not in said


def test_a_diverged_training_is_told_once_and_not_begun_anew(project):
    configure(project, **LONG, train__workers="2", masks__train__learning_rate="1e30", masks__train__gradient_clip="null")
    running = _start(project, ["pipelines.train_masks"])
    assert running.wait(LIMIT) != 0
    assert "TrainingDivergedError" in _said(project)
    assert "lower 'train.learning_rate'" in _said(project)
