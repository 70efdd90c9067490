import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cmr.errors import DataError
from mlops.doctor import examine
from mlops.repro import after_a_stop, reproduce
from tests.mlops.conftest import REPOSITORY


def test_it_needs_params(project: Path) -> None:
    with pytest.raises(DataError, match="syncmri configure demo"):
        reproduce(project, [])


def stage(project: Path, command: str) -> None:
    (project / "params.yaml").write_text("profile: none\n")
    (project / "dvc.yaml").write_text(f"stages:\n  only:\n    cmd: {command}\n    outs: [out.txt]\n")


def test_arguments_and_status_are_passed_on(versioned: Path) -> None:
    stage(versioned, "python -c \"import sys; open('out.txt', 'w').write(sys.executable)\"")
    assert reproduce(versioned, ["--dry", "only"]) == 0
    assert not (versioned / "out.txt").exists()
    assert reproduce(versioned, ["only"]) == 0
    assert Path((versioned / "out.txt").read_text()).parent == Path(sys.executable).parent
    stage(versioned, 'python -c "raise SystemExit(3)"')
    assert reproduce(versioned, []) != 0


def test_an_interrupt_waits_for_dvc_and_leaves_no_lock(versioned: Path) -> None:
    stage(versioned, "echo started > started.txt && sleep 60")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    # Tests that were started in the background ignore Ctrl-C, and would pass that on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "run"],
        cwd=versioned,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    end = time.monotonic() + 60
    while not (versioned / "started.txt").exists() and time.monotonic() < end:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("Interrupted.")
    assert "Traceback" not in errors
    stage(versioned, "echo done > out.txt")
    assert reproduce(versioned, []) == 0


def run(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "run", *words], cwd=project, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("content", ['{"write": {"/data/x', "", "[]\n"])
def test_a_damaged_lock_of_dvc_is_named_with_what_to_do(versioned: Path, content: str) -> None:
    stage(versioned, "echo done > out.txt")
    lock = versioned / ".dvc/tmp/rwlock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(content)
    stopped = run(versioned, "only")
    assert stopped.returncode != 0
    last = stopped.stderr.splitlines()[-1]
    assert str(lock) in last
    assert f"`rm '{lock}'`" in last
    lock.unlink()
    assert run(versioned, "only").returncode == 0
    assert (versioned / "out.txt").is_file()


def test_a_damaged_dvc_lock_is_named_with_what_to_do(versioned: Path) -> None:
    (versioned / "dvc.lock").write_text("schema: '2.0'\nstages:\n<<<<<<< HEAD\n  only:\n")
    assert "git checkout -- dvc.lock" in after_a_stop(versioned)


def test_a_stage_that_fails_is_said_to_be_mended_first(versioned: Path) -> None:
    stage(versioned, 'python -c "raise SystemExit(3)"')
    stopped = run(versioned, "only")
    assert stopped.returncode != 0
    assert "when what is said above is mended" in stopped.stderr


def test_an_unpacked_archive_without_git(project: Path) -> None:
    """What a release's ZIP holds: no .git, a .dvc that git made."""
    (project / ".dvc/config").write_text("")
    stage(project, "echo done > out.txt")
    stopped = run(project, "only")
    assert stopped.returncode != 0
    assert "in no git repository" in stopped.stderr
    assert "goes on from there" not in stopped.stderr
    (found,) = (check for check in examine(project) if check.name == "revision")
    assert (found.state, "core.no_scm true" in found.advice) == ("fail", True)

    advised = [sys.executable, "-m", "dvc", "config", "--local", "core.no_scm", "true"]
    subprocess.run(advised, cwd=project, check=True)
    done = run(project, "only")
    assert done.returncode == 0, done.stderr
    (found,) = (check for check in examine(project) if check.name == "revision")
    assert found.state == "warn"
