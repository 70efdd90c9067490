"""Whatever keeps MLflow from being used is named by its cause, with a way out, and keeps the last line of what was raised."""

import http.server
import logging
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mlops.causes import cause_of, last_line
from mlops.connection import TrackingError, connect, explained
from mlops.doctor import examine
from tests.mlops.mlflow_server import free_port

ADDRESSES = {
    "http://127.0.0.1:{port}": ("does not answer", "Start it"),
    "http://no-such-machine.invalid:5000": ("no machine of that name", "Correct MLFLOW_TRACKING_URI"),
    "ftp://machine/runs": ("address cannot be used", "http://HOST:PORT"),
    "./mlruns": ("address cannot be used", "sqlite:////FOLDER"),
    "127.0.0.1:5000": ("address cannot be used", "http://HOST:PORT"),
    "http://[::1": ("address cannot be used", "http://HOST:PORT"),
    "http://127.0.0.1:99999": ("address cannot be used", "http://HOST:PORT"),
    "sqlite://mlflow.db": ("address cannot be used", "sqlite:////FOLDER"),
    "sqlite:///{folder}/not there/mlflow.db": ("there is no folder", "sqlite:////FOLDER"),
    "mysql://reader:a-secret@127.0.0.1/runs": ("needs the package", "pip install"),
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def use(root: Path, *, write: bool) -> None:
    with explained(root):
        tracking = connect(root)
        if write:
            tracking.client.create_run(tracking.experiment)


def told(root: Path, uri: str, monkeypatch: pytest.MonkeyPatch, *, write: bool = False) -> TrackingError:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError) as raised:
        use(root, write=write)
    assert raised.value.way_out
    assert raised.value.way_out in str(raised.value)
    assert "a-secret" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_at_which_nothing_can_be_used(
    address: str, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what, way_out = ADDRESSES[address]
    error = told(demo, address.format(port=free_port(), folder=tmp_path), monkeypatch)
    assert what in str(error)
    assert way_out in error.way_out
    assert not (tmp_path / "not there").exists()


def test_doctor_gives_the_way_out_of_the_cause(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = told(demo, f"sqlite:///{tmp_path / 'not there'}/mlflow.db", monkeypatch)
    (tracking,) = (check for check in examine(demo) if check.name == "tracking")
    assert (tracking.state, tracking.found, tracking.advice) == ("warn", str(error), error.way_out)


def older(path: Path) -> None:
    change(path, "UPDATE alembic_version SET version_num = 'bd07f7e963c5'")


def newer(path: Path) -> None:
    change(path, "UPDATE alembic_version SET version_num = 'ffffffffffff'")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200_000])


def foreign(path: Path) -> None:
    path.write_text("a letter to somebody\n" * 500)


def without_tables(path: Path) -> None:
    change(path, "DROP TABLE experiments")


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


@pytest.mark.parametrize(
    ("damage", "what", "way_out"),
    [
        (older, "made by an older MLflow", "mlflow db upgrade"),
        (newer, "made by a newer MLflow", "environment"),
        (cut, "damaged", "from a copy"),
        (foreign, "damaged", "from a copy"),
        (without_tables, "damaged", "from a copy"),
    ],
)
def test_a_database_that_cannot_be_used(damage, what: str, way_out: str, demo: Path, monkeypatch, caplog) -> None:
    connect(demo)
    path = Path(shutil.copyfile(demo / "mlflow.db", demo / f"{damage.__name__}.db"))
    damage(path)
    error = told(demo, f"sqlite:///{path}", monkeypatch)
    assert what in str(error)
    assert way_out in error.way_out
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]  # no traceback of MLflow's beside it


def test_a_database_that_may_only_be_read(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(demo)
    error = told(demo, f"sqlite:///file:{demo / 'mlflow.db'}?mode=ro&uri=true", monkeypatch, write=True)
    assert "may only be read" in str(error)
    assert "attempt to write a readonly database" in str(error)  # the last line, where the first is on autoflush


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may open everything")
def test_a_database_of_somebody_else(demo: Path) -> None:
    connect(demo)
    (demo / "mlflow.db").chmod(0)
    try:
        with pytest.raises(TrackingError, match="cannot be opened"):
            connect(demo)
    finally:
        (demo / "mlflow.db").chmod(stat.S_IRUSR | stat.S_IWUSR)


@contextmanager
def answering(status: int, body: bytes = b"<html>hello", location: str | None = None) -> Iterator[str]:
    """A server that gives one answer to everything."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "what", "way_out"),
    [
        (401, "asks for a login", "MLFLOW_TRACKING_USERNAME"),
        (403, "does not allow this to your account", "Ask whoever runs the server"),
        (404, "no MLflow server", "A proxy"),
        (200, "no MLflow server", "A proxy"),
        (302, "no MLflow server", "A proxy"),
        (500, "an error of its own", "log of the server"),
        (503, "does not answer", "wait"),
    ],
)
def test_an_answer_that_is_none(status: int, what: str, way_out: str, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(status, location="/login" if status == 302 else None) as uri:
        error = told(demo, uri, monkeypatch)
    assert what in str(error)
    assert way_out in error.way_out


def test_something_that_is_gone(demo: Path) -> None:
    with pytest.raises(TrackingError, match="no longer has") as raised, explained(demo):
        connect(demo).client.get_run("0" * 32)
    assert "syncmri sync" in raised.value.way_out
    assert "cannot be used" not in str(raised.value)


def test_a_long_line_keeps_its_end_and_no_secret() -> None:
    line = last_line(OSError(f"https://reader:a-secret@{'x' * 280}.example.org: the cause"))
    assert line.startswith("…")
    assert line.endswith("the cause")
    assert "a-secret" not in line
    assert "secret" not in line


def test_errors_of_this_program_pass(demo: Path) -> None:
    with pytest.raises(ZeroDivisionError), explained(demo):
        _ = 1 / 0


def test_a_full_disk_is_no_server_that_is_down() -> None:
    assert "the disk is full" in cause_of(OSError(28, "No space left on device")).what
