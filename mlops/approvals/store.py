"""Where statements are kept: in MLflow, as files of one run a model, and in the in-house store, ``inhouse/statements``.

What the in-house store has once seen counts there for good: who can delete files in MLflow can't bring back an approval that
was taken away. The next statement brings back what MLflow lost.
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow.entities import Run
from securesystemslib.signer import CryptoSigner

from cmr.errors import DataError
from cmr.files import whole_file
from mlops.approvals.chain import Chain
from mlops.approvals.keys import own_trusted_signer, trusted_keys
from mlops.approvals.statement import (
    MOST_BYTES,
    Statement,
    StatementError,
    StatementFile,
    id_in_name,
    read_statement,
    sign,
)
from mlops.connection import Tracking, explained, side_experiment
from mlops.house import house_folder

MODEL_TAG = "syncmri.approvals"
EXPERIMENT = "approvals"
PLACE = "statements"
_LOCK_SECONDS = 60.0
_MOST_RUNS, _MOST_FILES = 20, 10_000


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """A lock that keeps others on this machine from changing approvals meanwhile.

    Raises:
        DataError: somebody else has held it for a minute.
    """
    (root / ".syncmri").mkdir(exist_ok=True)
    lock = FileLock(root / ".syncmri" / "promotion.lock", timeout=_LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise DataError(f"Another promotion is at work (for {_LOCK_SECONDS:.0f} seconds now); try again later.") from error
    try:
        yield
    finally:
        lock.release()


def read_chain(tracking: Tracking, model: str) -> Chain:
    """The chain of a model: every statement that MLflow has or that the in-house store has seen.

    Raises:
        KeyFileError: ``trusted_keys.yaml`` is broken.
    """
    memory = _memory(tracking.root, model)
    known, damaged = _remembered(memory)
    for run in _runs(tracking, model):
        for name in _listed(tracking, run):
            statement_id = id_in_name(name)
            if statement_id is None or statement_id in known:
                continue
            try:
                file = read_statement(name, _fetch(tracking, run, name))
            except StatementError as error:
                damaged[statement_id] = str(error)
                continue
            if file.statement.model == model:  # one of another model says nothing of this one, whoever signed it
                known[statement_id] = file
                _remember(memory, file)
    return Chain(known, {one: why for one, why in damaged.items() if one not in known}, trusted_keys(tracking.root))


def append(tracking: Tracking, statement: Statement, chain: Chain, signer: CryptoSigner | None) -> Statement:
    """Add a statement after the newest ones of ``chain``; returns it with its id. The in-house store has it before MLflow.

    Raises:
        TrackingError: MLflow can't be written to; the next statement brings this one there.
    """
    file = sign(replace(statement, previous=chain.heads), signer)
    _remember(_memory(tracking.root, statement.model), file)
    with explained(tracking.root):
        run = next(iter(_runs(tracking, statement.model)), None) or _create_run(tracking, statement.model)
        there = set(_listed(tracking, run))
        for one in (*chain.files.values(), file):
            if one.name not in there:
                _upload(tracking, run, one)
    return file.statement


def take_away(tracking: Tracking, statement: Statement) -> str | None:
    """Add a demotion or a withdrawal: signed if this user has a trusted key, else unsigned, in whatever state the chain is.

    Returns:
        None, or why MLflow does not have the statement yet; the in-house store has it.
    """
    root = tracking.root
    try:
        with explained(root):
            chain = read_chain(tracking, statement.model)
    except DataError:  # MLflow or the list of keys can't be read; what is known here has to do
        known, damaged = _remembered(_memory(root, statement.model))
        chain = Chain(known, damaged, [])
    try:
        append(tracking, statement, chain, own_trusted_signer(root))
    except DataError as error:
        return str(error)
    return None


def stored_files(tracking: Tracking, model: str) -> Iterator[tuple[str, str, bytes]]:
    """Place, name and present content of every statement's file in both places, read anew (for an audit)."""
    for run in _runs(tracking, model):
        for name in _listed(tracking, run):
            yield f"MLflow, run {run.info.run_id}, {PLACE}/", name, _fetch(tracking, run, name)
    for path in sorted(_memory(tracking.root, model).glob("*")):
        yield f"{path.parent}/", path.name, path.read_bytes()


def _memory(root: Path, model: str) -> Path:
    return house_folder(root) / "statements" / model


def _remembered(folder: Path) -> tuple[dict[str, StatementFile], dict[str, str]]:
    known: dict[str, StatementFile] = {}
    damaged: dict[str, str] = {}
    for path in sorted(folder.glob("statement-*.json")):
        if statement_id := id_in_name(path.name):
            try:
                known[statement_id] = read_statement(path.name, path.read_bytes())
            except (StatementError, OSError) as error:
                damaged[statement_id] = f"{path.parent}/{error}"
    return known, damaged


def _remember(folder: Path, file: StatementFile) -> None:
    """Keep a statement; a server that may only read the in-house store goes without."""
    path = folder / file.name
    try:
        if not path.exists() or path.read_bytes() != file.content:
            with whole_file(path) as temporary:
                temporary.write_bytes(file.content)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def _runs(tracking: Tracking, model: str) -> list[Run]:
    """The runs that hold the statements of a model; two if two machines have made one at the same time."""
    experiment = side_experiment(tracking, EXPERIMENT, create=False)
    if experiment is None:
        return []
    order = ["attributes.start_time ASC"]
    found = tracking.client.search_runs(
        [experiment], f"tags.`{MODEL_TAG}` = '{model}'", max_results=_MOST_RUNS + 1, order_by=order
    )
    if len(found) > _MOST_RUNS:
        raise DataError(
            f"{len(found)} or more runs in MLflow hold statements on {model}, expected one. Somebody floods the record of "
            f"approvals; delete the runs of strangers in the experiment “… {EXPERIMENT}”."
        )
    return list(found)


def _create_run(tracking: Tracking, model: str) -> Run:
    experiment = side_experiment(tracking, EXPERIMENT, create=True)
    assert experiment is not None
    return tracking.client.create_run(experiment, tags={MODEL_TAG: model}, run_name=f"approvals {model}")


def _listed(tracking: Tracking, run: Run) -> list[str]:
    """Names of the statements' files in a run; anything else that lies there is passed over.

    Raises:
        DataError: there are too many to be read.
    """
    names = [Path(found.path).name for found in tracking.client.list_artifacts(run.info.run_id, PLACE) if not found.is_dir]
    if len(names) > _MOST_FILES:  # to read a part only would hide the others
        raise DataError(
            f"run {run.info.run_id} in MLflow holds {len(names)} statements. Somebody floods the record of approvals; delete "
            "those of strangers."
        )
    return [name for name in names if id_in_name(name)]


def _fetch(tracking: Tracking, run: Run, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        found = tracking.client.download_artifacts(run.info.run_id, f"{PLACE}/{name}", scratch)
        with open(found, "rb") as file:
            return file.read(MOST_BYTES + 1)


def _upload(tracking: Tracking, run: Run, file: StatementFile) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, file.name)
        path.write_bytes(file.content)
        os.chmod(path, 0o644)
        tracking.client.log_artifact(run.info.run_id, str(path), PLACE)
