import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cmr.errors import DataError
from mlops.repro import reproduce
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
