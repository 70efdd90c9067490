"""Stages of the pipeline in project folders of their own, as DVC starts them, and what each took."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from mlops.profiles import configure

CODE = Path(__file__).parents[1]
_ELSEWHERE = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")  # a benchmark is of this machine
LOOK = 0.02  # seconds between two looks at a stage's memory
# A small process starts the stage and looks at it: it takes little from what it measures. Pages of mapped files do not count:
# the system takes them back when it needs the room.
_WATCH = f"""
import glob, os, subprocess, sys, time

def processes(parent):
    yield parent
    for path in glob.glob(f"/proc/{{parent}}/task/*/children"):
        try:
            for child in open(path).read().split():
                yield from processes(child)
        except OSError:  # it has ended
            pass

def held(process):
    try:
        lines = open(f"/proc/{{process}}/status").read().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))

start, peak = time.perf_counter(), 0
stage = subprocess.Popen(sys.argv[2:])
while stage.poll() is None:
    peak = max(peak, *(held(process) for process in processes(stage.pid)))
    time.sleep({LOOK})
open(sys.argv[1], "w").write(f"{{time.perf_counter() - start}} {{peak}}")
sys.exit(stage.returncode)
"""


@dataclass(frozen=True)
class Usage:
    """What a stage took: seconds from the start of its process to its end, and the peak of its memory in MB.

    The memory is that of its largest process, with workers of the largest among them, mapped files aside; 0 without /proc.
    """

    seconds: float
    peak: float


def project(root: Path, settings: Mapping[str, str]) -> Path:
    """A folder in which stages can run, with the demo's settings but for these."""
    (root / ".dvc").mkdir(parents=True)
    (root / "profiles").symlink_to(CODE / "profiles", target_is_directory=True)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    parameters(root, settings)
    return root


def parameters(root: Path, settings: Mapping[str, str]) -> Path:
    """Writes its params.yaml anew, and tells where it is."""
    with contextlib.chdir(root):
        return root / configure("demo", overrides=[f"{key}={value}" for key, value in settings.items()])


def run(root: Path, stage: str, environment: Mapping[str, str] | None = None) -> Usage:
    """One stage, such as ``train_generator ddpm``; ends the program with what it said where it fails."""
    paths = os.pathsep.join([str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    name, *words = stage.split()
    with TemporaryFile("w+") as said, TemporaryDirectory() as folder:
        used = Path(folder) / "used"
        done = subprocess.run(
            [sys.executable, "-c", _WATCH, str(used), sys.executable, "-m", f"pipelines.{name}", *words],
            cwd=root,
            env={**kept, "PYTHONPATH": paths, "MLFLOW_DISABLE_TELEMETRY": "true", **(environment or {})},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        if done.returncode:
            said.seek(0)
            raise SystemExit(f"{stage} ended with status {done.returncode}:\n{said.read()[-4000:]}")
        seconds, kilobytes = map(float, used.read_text().split())
    return Usage(seconds, kilobytes / 1e3)
