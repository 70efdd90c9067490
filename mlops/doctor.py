"""``syncmri doctor``: what this machine has, what is missing, and what to do about it."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import psutil

from cmr.errors import DataError, without_secrets
from evaluation.networks.weights import WEIGHTS, entries
from mlops.approvals.keys import keys_folder
from mlops.cluster import ADDRESS, asks_for_token, joined
from mlops.lanes import dvc
from mlops.private import ENVIRONMENT, SITE_CACHE, faults
from mlops.repro import WITHOUT_GIT, lacks_git
from mlops.revision import revision
from mlops.settings import DataSettings, check, load_params, lookup, validate_all

State = Literal["ok", "warn", "fail"]
OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"

_RESTORE_CONFIG = "`git checkout -- .dvc/config`, which names a folder of the project"
_LEAST_MEMORY_GB, _LEAST_DISK_GB = 4, 5


@dataclass(frozen=True)
class Check:
    """One line of the examination: ``advice`` says what to do, and is empty where nothing is to be done."""

    name: str
    state: State
    found: str
    advice: str = ""


def examine(root: Path | None) -> Iterator[Check]:
    """All checks, one after the other; those of the project are left out where ``root`` is None (outside of a checkout)."""
    yield _python()
    yield from _torch()
    yield _cores()
    yield _memory()
    yield _disk(root or Path.cwd())
    yield _program("git", ["git", "--version"], "install git: DVC keeps its versions in it")
    yield _program("dvc", [sys.executable, "-m", "dvc", "--version"], "`make install`")
    if root is None:
        yield Check("project", FAIL, "this folder is in no SynCMRI checkout", "change into your checkout and try again")
        return
    yield _revision(root)
    yield _packages(root / "requirements.lock")
    yield _params(root)
    yield from _raw_data(root)
    yield _tracking(root)
    yield _site_cache(root)
    yield _folders(root)
    yield from _keys()
    yield from _cluster(root)
    yield from _weights()


def _python() -> Check:
    version = sys.version.split()[0]
    if sys.version_info[:2] == (3, 11):
        return Check("Python", OK, version)
    return Check("Python", FAIL, version, "make the environment with Python 3.11: `make demo PYTHON=/path/to/python3.11`")


def _torch() -> Iterator[Check]:
    try:
        import torch

        from models.device import has_bf16, pick_device
    except (ImportError, OSError) as error:  # OSError: a shared library of torch does not load
        yield Check("torch", FAIL, f"does not import: {error}", "`make install`")
        return
    device = pick_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    yield Check("torch", OK, f"{torch.__version__}")
    advice = "" if device.type == "cuda" else "enough for the profiles demo and real; paper wants a GPU"
    yield Check("device", OK if device.type == "cuda" else WARN, name, advice)
    slow = "" if has_bf16(device) else "training runs in float32, two to three times slower"
    yield Check("bfloat16", WARN if slow else OK, "not in hardware" if slow else "in hardware", slow)


def _cores() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("cores", OK, f"{cores}, load {os.getloadavg()[0]:.1f}")


def _memory() -> Check:
    memory = psutil.virtual_memory()
    free = memory.available / 1e9
    short = free < _LEAST_MEMORY_GB
    advice = f"the demo wants {_LEAST_MEMORY_GB} GB: close other programs" if short else ""
    return Check("memory", WARN if short else OK, f"{free:.1f} of {memory.total / 1e9:.1f} GB free", advice)


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / 1e9
    short = free < _LEAST_DISK_GB
    advice = f"{_LEAST_DISK_GB} GB are wanted: `dvc gc -w` drops versions that nothing refers to" if short else ""
    return Check("disk", WARN if short else OK, f"{free:.0f} GB free", advice)


def _program(name: str, command: list[str], advice: str) -> Check:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name, FAIL, f"does not run: {error}", advice)
    if done.returncode:
        return Check(name, FAIL, f"fails: {(done.stderr or done.stdout).strip()[-200:]}", advice)
    return Check(name, OK, done.stdout.strip().removeprefix("git version "))


def _revision(root: Path) -> Check:
    """Whether runs can name the revision that they were made from, and DVC finds the repository that it wants."""
    found = revision(root)
    if not found.why:
        return Check("revision", OK, f"{found.commit[:12]}{', with changed files' if found.changed else ''}")
    if lacks_git(root):
        return Check("revision", FAIL, "no git repository, and DVC wants one", WITHOUT_GIT)
    return Check("revision", WARN, f"none is recorded: {found.why}", found.advice)


def _packages(lock: Path) -> Check:
    if not lock.is_file():
        return Check("packages", FAIL, f"{lock.name} is missing", f"`git checkout -- {lock.name}`")
    wanted = dict(re.findall(r"^([\w.-]+)==([^\s\\;]+)", lock.read_text(), re.MULTILINE))
    wrong = []
    for name, version in wanted.items():
        try:
            found = importlib.metadata.version(name).partition("+")[0]  # torch 2.13.0+cpu is torch 2.13.0
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found != version:
            wrong.append(f"{name} {found} (locked: {version})")
    if not wrong:
        return Check("packages", OK, f"{len(wanted)} at their locked versions")
    listed = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
    return Check("packages", WARN, listed, "`make install`")


def _params(root: Path) -> Check:
    try:
        params = load_params(root)
        validate_all(params)
    except DataError as error:
        return Check("params.yaml", FAIL, str(error), "correct it, or write it anew with `syncmri configure`")
    return Check("params.yaml", OK, f"valid, profile {params['profile']}")


def _raw_data(root: Path) -> Iterator[Check]:
    try:
        data = check(lookup(load_params(root), "data"), DataSettings, "data")
    except DataError:
        return  # told by the check of params.yaml
    for name, raw in data.raw.items():
        place = root / raw.root
        if place.is_dir():
            yield Check(f"data {name}", OK, raw.root)
        elif raw.root == f"data/phantom/{name}":
            yield Check(f"data {name}", OK, f"{raw.root}, a phantom that `dvc repro` writes")
        elif (root / f"{raw.root}.dvc").is_file():
            yield Check(f"data {name}", FAIL, f"{raw.root} is not checked out", f"`dvc checkout {raw.root}`, or `dvc pull`")
        else:
            yield Check(f"data {name}", FAIL, f"{raw.root} does not exist", f"`syncmri configure ... --{name} DIR`")


def _tracking(root: Path) -> Check:
    from mlops.connection import TrackingError, connect, tracking_uri  # mlflow takes two seconds to import

    uri = tracking_uri(root)
    try:
        connect(root)
    except TrackingError as error:
        return Check("tracking", WARN, str(error), error.way_out)
    except DataError as error:
        return Check("tracking", WARN, str(error), "correct params.yaml, or write it anew with `syncmri configure`")
    return Check("tracking", OK, without_secrets(uri))


def _site_cache(root: Path) -> Check:
    """Where DVC keeps what it reads with pickle: in a folder of this user alone."""
    name = "DVC site cache"
    asked = subprocess.run(dvc("config", "core.site_cache_dir"), cwd=root, capture_output=True, text=True)
    named = os.environ.get(ENVIRONMENT) or asked.stdout.strip()
    if not named:
        return Check(name, FAIL, "DVC's own, which every user may write and DVC reads with pickle", _RESTORE_CONFIG)
    folder = root / named
    for path in (folder, folder / "repo"):
        if wrong := faults(path, 0o777 if path != folder else 0o755):
            advice = (
                "`git checkout -- .dvc_site_cache`" if not path.exists() else f"`rm -r {folder}`, then `syncmri doctor` again"
            )
            return Check(name, FAIL, f"{path} {wrong}: who writes there runs programs as you", advice)
    if strays := [str(path.relative_to(root)) for path in (*root.glob(f"*/{SITE_CACHE}"), *root.glob(f"*/*/{SITE_CACHE}"))]:
        return Check(
            name,
            FAIL,
            f"DVC was called in a folder below and left {', '.join(strays)}",
            f"`rm -r {strays[0]}`; call `dvc` here",
        )
    if wrong := faults(folder, 0o700):
        return Check(name, WARN, f"{folder} {wrong}", f"`chmod 700 {folder}`")
    return Check(name, OK, f"{folder}, yours alone")


def _folders(root: Path) -> Check:
    """Whether other users of the machine may change code, settings or state of the project."""
    watched = (root, root / ".dvc", root / ".dvc/tmp", root / ".syncmri", root / "mlflow.db")
    found = [f"{path} {wrong}" for path in watched if path.exists() and (wrong := faults(path, 0o755))]
    if not found:
        return Check("project folder", OK, "only you may write")
    return Check(
        "project folder", WARN, "; ".join(found), "`chmod go-w` these, unless everybody who may write there is trusted"
    )


def _keys() -> Iterator[Check]:
    """Keys and tokens of this user: nobody else may read them."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray/auth_token")
    for path in (*sorted(keys_folder().glob("*.key")), token):
        if path.exists():
            wrong = faults(path, 0o600)
            advice = f"`chmod 600 {path}`; replace it if others could read it" if wrong else ""
            yield Check(
                f"key {path.name}", FAIL if wrong else OK, f"{path} {wrong}" if wrong else f"{path}, yours alone", advice
            )


def _cluster(root: Path) -> Iterator[Check]:
    """What stands at ``RAY_ADDRESS``, where one is set: else work stays in the stages' own processes."""
    if not (address := os.environ.get(ADDRESS)):
        return
    try:
        with joined(root):
            import ray

            nodes, has = sum(node["Alive"] for node in ray.nodes()), ray.cluster_resources()
            guarded = asks_for_token(ray.get_runtime_context().gcs_address)
    except DataError as error:
        yield Check("Ray cluster", FAIL, f"none that can be joined at {without_secrets(address)}", str(error))
        return
    address = without_secrets(address)
    yield Check("Ray cluster", OK, f"{nodes} nodes, {has.get('CPU', 0):.0f} cores, {has.get('GPU', 0):.0f} GPUs at {address}")
    advice = "" if guarded else "start it anew with RAY_AUTH_MODE=token and a token on every machine: docs/cluster.md"
    found = "the cluster asks for it" if guarded else "the cluster asks for none: who reaches its ports runs programs as you"
    yield Check("Ray token", OK if guarded else WARN, found, advice)


def _weights() -> Iterator[Check]:
    advice = "`syncmri weights fetch`; without a connection the report gives these figures as missing, with what to do"
    for entry in entries():
        name = f"weights for {WEIGHTS[entry.name].figures}"
        if entry.state == "ready":
            yield Check(name, OK, str(entry.path))
        else:
            yield Check(name, WARN, f"{entry.path} is {entry.state}", advice)


def report(root: Path | None, show: Callable[[Check], None]) -> bool:
    """Run all checks, show each as it is done, and say whether none failed."""
    healthy = True
    for outcome in examine(root):
        show(outcome)
        healthy = healthy and outcome.state != FAIL
    return healthy
