"""``syncmri run``: the whole pipeline with DVC."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cmr.errors import DataError
from mlops.lanes import COHORT, THREADS, dvc, phases, run_lanes
from mlops.settings import PARAMS, load_params


def reproduce(root: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """``dvc repro ARGUMENTS`` in the project at ``root``, with a changed environment if need be; returns DVC's exit status.

    Without arguments everything is brought up to date, parts that need nothing of one another side by side where the cores are
    there for it. Stages find this Python whether or not its environment is activated. Ctrl-C reaches DVC, which ends its stage
    and its locks itself, and is waited for.
    """
    if not (root / PARAMS).is_file():
        raise DataError(f"{root / PARAMS}: there is no such file. Run `syncmri configure demo` first (or real, or paper).")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, **(environment or {})}
    if not arguments and (cores := _cores(environment)) > 1 and _outdated(root, environment):
        found = phases(_needs(root, environment), load_params(root).get("generators", {}).get("names", []))
        if found and (status := _repro(root, [COHORT], environment)):
            return status
        for lanes in found:
            if status := run_lanes(root, lanes, cores, environment):
                return status
    return _repro(root, arguments, environment)


def _cores(environment: Mapping[str, str]) -> int:
    """Cores to share among lanes; 1 where a GPU computes, which one training fills, or where the threads were set by hand."""
    if THREADS in environment:
        return 1
    from models.device import pick_device  # torch takes a second

    return len(os.sched_getaffinity(0)) if pick_device().type == "cpu" else 1


def _outdated(root: Path, environment: Mapping[str, str]) -> bool:
    """Whether anything is to be done at all: a plain repro is the faster way to find that nothing is."""
    return _ask(root, environment, "status", "--json") != "{}"


def _needs(root: Path, environment: Mapping[str, str]) -> dict[str, set[str]]:
    """Every stage to the stages that it needs, in the order of the graph."""
    graph = _ask(root, environment, "dag", "--dot")
    needs: dict[str, set[str]] = {stage: set() for stage in re.findall(r'^"([^"]+)";?$', graph, re.MULTILINE)}
    for before, after in re.findall(r'^"([^"]+)" -> "([^"]+)";?$', graph, re.MULTILINE):
        needs.setdefault(before, set())
        needs.setdefault(after, set()).add(before)
    return needs


def _ask(root: Path, environment: Mapping[str, str], *words: str) -> str:
    """What DVC answers; nothing where it cannot: the plain repro that follows then says why."""
    done = subprocess.run(dvc(*words), cwd=root, env=dict(environment), capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _repro(root: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    process = subprocess.Popen(dvc("repro", *arguments), cwd=root, env=dict(environment))
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
