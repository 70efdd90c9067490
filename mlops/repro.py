"""``syncmri run``: the whole pipeline with DVC."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cmr.errors import DataError
from mlops.settings import PARAMS


def reproduce(root: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """``dvc repro ARGUMENTS`` in the project at ``root``, with a changed environment if need be; returns DVC's exit status.

    Stages find this Python whether or not its environment is activated. Ctrl-C reaches DVC, which ends its stage and its locks
    itself, and is waited for.
    """
    if not (root / PARAMS).is_file():
        raise DataError(f"{root / PARAMS}: there is no such file. Run `syncmri configure demo` first (or real, or paper).")
    command = [sys.executable, "-m", "dvc", "repro", *arguments]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    process = subprocess.Popen(command, cwd=root, env={**os.environ, "PATH": path, **(environment or {})})
    interrupted = False
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return status


def adopt_parent_run() -> None:
    """Make the run that ``mlflow run`` opened the parent of the trainings' runs, in this process and those it starts.

    ``mlflow run`` tells it as ``MLFLOW_RUN_ID``; every process that sees that name and opens a run writes into this same one.
    """
    if run_id := os.environ.pop("MLFLOW_RUN_ID", None):
        os.environ["SYNCMRI_PARENT_RUN_ID"] = run_id
