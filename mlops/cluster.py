"""The Ray cluster that a process works on: the one that ``RAY_ADDRESS`` names, or one of its own on this machine."""

import logging
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from cmr.errors import DataError
from mlops.settings import TrainerSettings, check, load_params

ADDRESS = "RAY_ADDRESS"
_ROOT = "SYNCMRI_ROOT"  # tells a worker where the project is
_PATIENCE_S = 10
_LONGEST_SOCKET = 103  # bytes of a socket's path: 107 on Linux, 103 on macOS
_SOCKET = len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.1")
_MODE, _TOKEN, _TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_HANDED_ON = ("MLFLOW_TRACKING_URI", "SYNCMRI_WEIGHTS", "SYNCMRI_PARENT_RUN_ID")
"""Variables of this process that a worker on another machine works by as well."""


def wanted(root: Path) -> bool:
    """Whether work goes through Ray: a cluster is named, or a training has several workers. Ray itself is not imported."""
    return bool(os.environ.get(ADDRESS)) or workers(root) > 1


def workers(root: Path) -> int:
    """Workers that one training is shared among: ``train.workers``, 1 where it is not set; :class:`DataError` for no count."""
    params = load_params(root)
    return check(params["train"], TrainerSettings, "train").workers if "train" in params else 1


def _answers(address: str) -> None:
    """Raises OSError where nothing listens at HOST:PORT: Ray itself would try for minutes. Other addresses are left to Ray."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S).close()


def asks_for_token(address: str) -> bool:
    """Whether the cluster at ``address`` refuses a caller without a token; False too where nobody answers as Ray does."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    without = {name: value for name, value in os.environ.items() if name not in (_TOKEN, _TOKEN_PATH)} | {_MODE: "disabled"}
    try:
        done = subprocess.run(command, env=without, capture_output=True, text=True, timeout=6 * _PATIENCE_S)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode != 0 and "AuthenticationError" in done.stderr


@contextmanager
def joined(root: Path) -> Iterator[None]:
    """Within it this process works on the cluster; one that it started itself, with a node of all cores, ends with it.

    Ray's own ports are open to other machines; whoever calls one that this process started must know its token, which only its
    environment holds.

    Workers begin in the project's folder and find the project's code, as this process does. Nested uses share the outermost.

    Raises:
        DataError: there is no cluster at the address, or it asks for another token.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get(ADDRESS)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    with nullcontext() if address else _place_for_sockets() as place:
        own: dict[str, Any] = {"address": address} if address else {"address": "local", "include_dashboard": False}
        own |= {"_temp_dir": place} if place else {}
        try:
            if address:
                _answers(address)
            else:
                _make_token()
            ray.init(**own, **quiet, runtime_env=_worker_environment(root.resolve()))
        except (OSError, RuntimeError, ValueError, ray.exceptions.AuthenticationError) as error:
            if not address:
                raise
            raise DataError(_refusal(address, error)) from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _place_for_sockets() -> Iterator[str | None]:
    """A short folder for Ray's sockets where that of ``RAY_TMPDIR`` or ``TMPDIR`` is too long or not there, as under Slurm;
    None where it will do. It is gone afterwards.

    Raises:
        DataError: no short folder can be written to.
    """
    named = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR")
    if not named or (len(os.fsencode(named)) + _SOCKET <= _LONGEST_SOCKET and os.access(named, os.W_OK | os.X_OK)):
        yield None
        return
    try:
        scratch = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
    except OSError as error:
        raise DataError(
            f"Ray cannot put its sockets into {named} (TMPDIR), which is too long or not there, nor into /tmp "
            f"({error.strerror}). Set RAY_TMPDIR to a folder with a path of at most 30 characters that you may write to."
        ) from error
    with scratch as place:
        print(f"TMPDIR ({named}) is no place for Ray's sockets: {place} is used instead.", file=sys.stderr)
        yield place


def _make_token() -> None:
    """A token for the instance that this process starts, whatever its user's other clusters do. It stays in this process's
    environment, from which Ray reads it once for all instances."""
    os.environ.pop(_MODE, None)  # Ray switches the token on itself for an instance of its own, unless told not to
    if not (os.environ.get(_TOKEN) or os.environ.get(_TOKEN_PATH)):
        os.environ[_TOKEN] = secrets.token_hex(32)


def _refusal(address: str, error: Exception) -> str:
    if asks_for_token(address):
        return (
            f"The Ray cluster at {address} asks for a token, and this machine has none or another one. Set {_MODE}=token and "
            f"{_TOKEN_PATH}=FILE (or {_TOKEN}), with the token that the cluster was started with; see docs/cluster.md."
        )
    why = str(error).splitlines()[0].rstrip(".")
    return (
        f"{ADDRESS} is '{address}', and this machine can't join a Ray cluster there: {why}. "
        "This machine must be one of its nodes (`ray start --address=...`; see docs/cluster.md). "
        f"Or unset {ADDRESS} to work on this machine alone."
    )


def enter_project() -> None:
    """A worker's first act."""
    os.chdir(os.environ[_ROOT])


def _worker_environment(root: Path) -> dict[str, Any]:
    code = Path(__file__).resolve().parents[1]  # another checkout's, where the project folder holds none
    paths = dict.fromkeys([str(root), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), str(code)])
    variables = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    variables |= {"PYTHONPATH": os.pathsep.join(paths), _ROOT: str(root)}
    return {"env_vars": variables, "worker_process_setup_hook": f"{__name__}.enter_project"}


@contextmanager
def started(root: Path) -> Iterator[dict[str, str]]:
    """Within it one local instance runs for all processes that this one starts with the yielded environment variables, where
    a training has several workers and no cluster is named; else there are none, and nothing is started."""
    if os.environ.get(ADDRESS) or not wanted(root):
        yield {}
        return
    import ray

    with joined(root):
        known = {name: os.environ[name] for name in (_TOKEN, _TOKEN_PATH) if name in os.environ}
        yield {ADDRESS: ray.get_runtime_context().gcs_address, _MODE: "token", **known}
