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
# A process starts with the peak of the one that it was forked from: a small one has to start the stage.
_WATCH = """
import resource, subprocess, sys, time
start = time.perf_counter()
status = subprocess.call(sys.argv[2:])
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
open(sys.argv[1], "w").write(f"{time.perf_counter() - start} {peak}")
sys.exit(status)
"""


@dataclass(frozen=True)
class Usage:
    """What a stage took: seconds from the start of its process to its end, and the peak of its memory in MB.

    The memory is that of its largest process: with workers, of the largest among them.
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
