"""``syncmri run``: the whole pipeline with DVC."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

from cmr.errors import DataError
from mlops.cluster import ADDRESS
from mlops.lanes import COHORT, THREADS, dvc, phases, run_lanes, run_stages
from mlops.private import keep_private, share_with_group
from mlops.revision import in_repository
from mlops.settings import PARAMS, load_params
from mlops.share import room
from mlops.yaml_files import read_yaml

DVC_LOCK = "dvc.lock"
WITHOUT_GIT = (
    "Clone the project, or put what you unpacked under git: `git init`, `git add .`, `git commit -m start`. Or do without: "
    "`dvc config --local core.no_scm true`; then runs are recorded without a revision."
)


def reproduce(root: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """``dvc repro ARGUMENTS`` in the project at ``root``, with a changed environment if need be; returns DVC's exit status.

    Without arguments everything is brought up to date, parts that need nothing of one another side by side where the cores are
    there for it, or the cluster that ``RAY_ADDRESS`` names. Stages find this Python, its environment activated or not.
    Ctrl-C reaches DVC, which ends its stage and its locks itself, and is waited for.
    """
    if not (root / PARAMS).is_file():
        raise DataError(f"{root / PARAMS}: there is no such file. Run `syncmri configure demo` first (or real, or paper).")
    share_with_group(root)
    keep_private(root)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, **(environment or {})}
    if not arguments and (status := _side_by_side(root, environment)):
        return status
    return _repro(root, arguments, environment)


def after_a_stop(root: Path) -> str:
    """What to do when DVC has stopped, in sentences: `syncmri run` goes on only where nothing has to be mended first."""
    lock, made = root / ".dvc/tmp/rwlock", root / DVC_LOCK
    if lock.is_file() and not _is_json(lock):
        return (
            f"{lock} is damaged: a DVC process was cut off, or the disk was full. DVC does nothing until it is gone. When no "
            f"other `dvc` or `syncmri run` is at work in this folder: `rm '{lock}'`, then `syncmri run` goes on."
        )
    if made.is_file():
        try:
            read_yaml(made)
        except DataError as error:
            return (
                f"{error} DVC keeps what it has made in it. `git checkout -- {DVC_LOCK}` brings back what was committed last."
            )
    if lacks_git(root):
        return f"{root} is in no git repository (an archive has none), and DVC wants one. {WITHOUT_GIT}"
    return "What is done is kept: when what is said above is mended, `syncmri run` goes on from there."


def lacks_git(root: Path) -> bool:
    """Whether DVC does nothing because there is no git repository; `core.no_scm` lets it do without."""
    if in_repository(root):
        return False
    asked = subprocess.run(dvc("config", "core.no_scm"), cwd=root, capture_output=True, text=True)
    return asked.stdout.strip() != "true"


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except ValueError:
        return False


def _side_by_side(root: Path, environment: Mapping[str, str]) -> int:
    """Brings up to date what gains by it; returns 0, or the exit status of what stopped."""
    clustered = bool(environment.get(ADDRESS))
    cores = len(os.sched_getaffinity(0)) if clustered else _cores(environment)
    if not (clustered or cores > 1) or not (changed := _changed(root, environment)):
        return 0
    needs = _needs(root, environment)
    if clustered:
        # As many as the cluster trains at once; each stage is also a process here, half a gigabyte that mostly waits.
        at_once = min(room(root), 2 * cores)
        return run_stages(root, _outdated(needs, changed), at_once, cores, environment) if at_once > 1 else 0
    found = phases(needs, load_params(root).get("generators", {}).get("names", []))
    if found and (status := _repro(root, [COHORT], environment)):
        return status
    for lanes in found:
        if status := run_lanes(root, lanes, cores, environment):
            return status
    return 0


def _cores(environment: Mapping[str, str]) -> int:
    """Cores to share among lanes; 1 where a GPU computes, which one training fills, or where the threads were set by hand."""
    if THREADS in environment:
        return 1
    from models.device import pick_device  # torch takes a second

    return len(os.sched_getaffinity(0)) if pick_device().type == "cpu" else 1


def _changed(root: Path, environment: Mapping[str, str]) -> set[str]:
    """The stages that do not fit their inputs or outputs any more; where there is none, a plain repro is the faster way."""
    return set(json.loads(_ask(root, environment, "status", "--json") or "{}"))


def _outdated(needs: Mapping[str, set[str]], changed: set[str]) -> dict[str, set[str]]:
    """The changed stages and all that stand on them, each with what it needs of these."""
    found = set(changed)
    for stage in TopologicalSorter(needs).static_order():
        if needs[stage] & found:
            found.add(stage)
    return {stage: before & found for stage, before in needs.items() if stage in found}


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
