"""Where statements are kept: in MLflow, as files of one run a model, and in the in-house store, ``inhouse/statements``.

What the in-house store has once seen signed with a trusted key counts there for good: who can delete files in MLflow can't
bring back an approval that was taken away. The next statement brings back what MLflow lost. What nobody trusted has signed
counts as long as it lies in MLflow, unless it was written here.
"""

import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
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
    MOST_PREVIOUS,
    Statement,
    StatementError,
    StatementFile,
    id_in_name,
    read_statement,
    sign,
)
from mlops.connection import Tracking, explained, refuse_local_artifacts, side_experiment
from mlops.house import house_folder

MODEL_TAG = "syncmri.approvals"
EXPERIMENT = "approvals"
PLACE = "statements"
_LOCK_SECONDS = 60.0
_MOST_RUNS, _MOST_FILES, _MOST_FOREIGN = 20, 10_000, 200


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
        DataError: ``trusted_keys.yaml`` is broken, or the record in MLflow is flooded.
        TrackingError: MLflow can't be read.
    """
    memory, keys = _memory(tracking.root, model), trusted_keys(tracking.root)
    known, damaged = _remembered(memory)
    remembered = frozenset(known)
    with explained(tracking.root):
        for run in _runs(tracking, model):
            for name, size in _listed(tracking, run).items():
                statement_id = id_in_name(name)
                if statement_id is None or statement_id in known:
                    continue
                try:
                    file = read_statement(name, _fetch(tracking, run, name, size))
                except StatementError as error:
                    damaged[statement_id] = str(error)
                    continue
                if file.statement.model == model:  # one of another model says nothing of this one, whoever signed it
                    known[statement_id] = file
    chain = Chain(known, {one: why for one, why in damaged.items() if one not in known}, keys, remembered)
    if len(chain.foreign) > _MOST_FOREIGN:
        raise DataError(
            f"{len(chain.foreign)} statements on {model} in MLflow have no trusted signature. Somebody floods the record of "
            f"approvals; delete them in the run “approvals {model}”."
        )
    for one in chain.vouched - remembered:
        _remember(memory, known[one])
    return chain


def append(tracking: Tracking, statement: Statement, chain: Chain, signer: CryptoSigner | None) -> Statement:
    """Add a statement after the newest ones of ``chain``; returns it with its id. The in-house store has it before MLflow.

    Raises:
        OSError: the in-house store can't be written to.
        TrackingError: MLflow can't be written to; the next statement brings this one there.
    """
    file = sign(replace(statement, previous=chain.heads[-MOST_PREVIOUS:]), signer)
    _remember(_memory(tracking.root, statement.model), file, required=True)
    _deliver(tracking, statement.model, [*(chain.files[one] for one in chain.vouched), file])
    return file.statement


def take_away(root: Path, statement: Statement) -> StatementFile:
    """Write a demotion or a withdrawal into the in-house store, whatever state MLflow, the keys or the record are in.

    It is signed if this user has a trusted key. :func:`deliver` brings it to MLflow.

    Raises:
        OSError: the in-house store can't be written to.
    """
    memory = _memory(root, statement.model)
    known, damaged = _remembered(memory)
    try:
        keys = trusted_keys(root)
    except DataError:
        keys = []
    heads = Chain(known, damaged, keys, frozenset(known)).heads
    file = sign(replace(statement, previous=heads[-MOST_PREVIOUS:]), own_trusted_signer(root))
    _remember(memory, file, required=True)
    return file


def deliver(tracking: Tracking, model: str) -> None:
    """Bring to MLflow what the in-house store has and MLflow lacks.

    Raises:
        DataError: MLflow can't be written to, or its record is flooded.
    """
    _deliver(tracking, model, list(_remembered(_memory(tracking.root, model))[0].values()))


def remembered_chain(root: Path, model: str) -> Chain:
    """The chain as far as the in-house store has it, for when MLflow can't be read."""
    known, damaged = _remembered(_memory(root, model))
    try:
        keys = trusted_keys(root)
    except DataError:
        keys = []
    return Chain(known, damaged, keys, frozenset(known))


def stored_files(tracking: Tracking, model: str) -> Iterator[tuple[str, str, bytes]]:
    """Place, name and present content of every statement's file in both places, read anew (for an audit)."""
    for run in _runs(tracking, model):
        for name, size in _listed(tracking, run).items():
            yield f"MLflow, run {run.info.run_id}, {PLACE}/", name, _fetch(tracking, run, name, size)
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
                damaged[statement_id] = f"{path.parent.parent.parent.name}/{PLACE}/{path.parent.name}/{error}"
    return known, damaged


def _remember(folder: Path, file: StatementFile, *, required: bool = False) -> None:
    """Keep a statement; a server that may only read the in-house store goes without, unless it is ``required``."""
    path = folder / file.name
    try:
        if not path.exists() or path.read_bytes() != file.content:
            with whole_file(path) as temporary:
                temporary.write_bytes(file.content)
    except OSError as error:
        if required or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def _deliver(tracking: Tracking, model: str, files: Sequence[StatementFile]) -> None:
    """Upload what is missing to every run that holds statements of the model: a stranger's run must not be the only one."""
    with explained(tracking.root):
        runs = _runs(tracking, model) or [_create_run(tracking, model)]
        for run in runs:
            refuse_local_artifacts(tracking, run.info.artifact_uri)
            there = _listed(tracking, run)
            for one in files:
                if one.name not in there:
                    _upload(tracking, run, one)


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


def _listed(tracking: Tracking, run: Run) -> dict[str, int]:
    """Names of the statements' files in a run, each with its size (0 where it is not known); anything else is passed over.

    Raises:
        DataError: there are too many to be read.
    """
    found = [one for one in tracking.client.list_artifacts(run.info.run_id, PLACE) if not one.is_dir]
    if len(found) > _MOST_FILES:  # to read a part only would hide the others
        raise DataError(
            f"run {run.info.run_id} in MLflow holds {len(found)} statements. Somebody floods the record of approvals; delete "
            "those of strangers."
        )
    named = {Path(one.path).name: int(one.file_size or 0) for one in found}
    return {name: size for name, size in named.items() if id_in_name(name)}


def _fetch(tracking: Tracking, run: Run, name: str, size: int) -> bytes:
    if size > MOST_BYTES:
        return b""  # no statement is so large; not the content of its name either
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
