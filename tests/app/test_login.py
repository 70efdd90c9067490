"""Logins over real HTTP: tokens, people in a file, wrong tries; the commands that write the file."""

import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from typer.testing import CliRunner

from app.cli import app
from app.login import Login, Users, add_user, remove_user
from cmr.errors import DataError
from tests.app.serving.running import running
from tests.app.test_hosting import APP

PASSWORD = "correct horse ü"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    add_user(tmp_path / "users", "anna", PASSWORD)
    return tmp_path / "users"


@pytest.fixture
def address(users: Path) -> Iterator[str]:
    with running(APP, Login("the-token", Users(users))) as address:
        yield address


def _ask(address: str, name: str | None = None, password: str = "", **headers: str) -> requests.Response:
    auth = None if name is None else (name.encode(), password.encode())
    return requests.get(f"{address}/echo", auth=auth, headers=headers, timeout=30)


def test_a_token_or_a_person_is_let_in_and_known_by_name(address: str) -> None:
    assert _ask(address, "anna", PASSWORD).json()["who"] == "anna"
    assert _ask(address, "anna", PASSWORD).json()["who"] == "anna"
    assert _ask(address, "anybody", "the-token").json()["who"] == "token"
    assert _ask(address, Authorization="Bearer the-token").json()["who"] == "token"
    assert requests.get(f"{address}/health", timeout=30).status_code == 200
    for path in ("/health/", "/healthy", "//health", "/health/../echo", "/HEALTH"):
        assert requests.get(address + path, timeout=30).status_code == 401, path


def test_anything_else_is_refused(address: str, users: Path) -> None:
    hashed = users.read_text().strip().partition(":")[2]
    wrong = [
        "Bearer",
        "Bearer ",
        "Bearer the-toke",
        "Bearer the-token x",
        "the-token",
        "Basic",
        "Basic !",
        "Basic YW5uYQ==",
        "x" * 5000,
    ]
    assert _ask(address).headers["WWW-Authenticate"].startswith("Basic realm=")
    for header in wrong:
        assert _ask(address, Authorization=header).status_code == 401, header
    for name, password in (("anna", ""), ("anna", PASSWORD + " "), ("anna", hashed), ("", ""), ("Anna", PASSWORD)):
        assert _ask(address, name, password).status_code in (401, 429), name


def test_wrong_tries_are_throttled_by_name_and_never_lock_the_token_out(address: str, users: Path) -> None:
    add_user(users, "bert", PASSWORD)
    answers = [_ask(address, "anna", f"guess {n}").status_code for n in range(15)]
    assert answers == [401] * 10 + [429] * 5
    assert int(_ask(address, "anna", "guess").headers["Retry-After"]) <= 61
    assert _ask(address, "anna", PASSWORD).status_code == 429  # else the throttle would tell the right guess
    assert _ask(address, "bert", PASSWORD).status_code == 200
    assert [_ask(address, Authorization=f"Bearer {n}").status_code for n in range(12)].count(429) == 2
    assert _ask(address, Authorization="Bearer the-token").status_code == 200


def test_the_throttle_does_not_tell_who_exists(address: str) -> None:
    def answers(name: str) -> list[tuple[int, str]]:
        said = [_ask(address, name, f"guess {n}") for n in range(12)]
        return [(one.status_code, re.sub(r"in \d+ s", "", one.text)) for one in said]

    known = answers("anna")
    assert [status for status, _ in known] == [401] * 10 + [429] * 2
    assert answers("nobody") == answers("Anna") == answers("x" * 300) == known


def test_many_names_are_not_tried_and_do_not_lock_out_who_is_known(address: str, users: Path) -> None:
    add_user(users, "bert", PASSWORD)
    assert _ask(address, "anna", PASSWORD).status_code == 200
    answers = [_ask(address, f"name{n}", "guess").status_code for n in range(70)]
    assert (answers[:50], answers[60:]) == ([401] * 50, [429] * 10)
    assert _ask(address, "bert", PASSWORD).status_code == 429  # has not been here before
    assert _ask(address, "anna", PASSWORD).status_code == 200
    assert _ask(address, "anna", "guess").status_code == 429


def test_right_logins_do_not_count(users: Path) -> None:
    with running(APP, Login(None, Users(users))) as address:
        for n in range(9):
            assert _ask(address, "anna", f"guess {n}").status_code == 401
        for _ in range(100):
            assert _ask(address, "anna", PASSWORD).status_code == 200
        assert _ask(address, "anna", "guess").status_code == 401
        assert _ask(address, "anna", "guess").status_code == 429


def test_who_is_removed_or_changed_in_the_file_is_refused_at_once(address: str, users: Path) -> None:
    assert _ask(address, "anna", PASSWORD).status_code == 200
    assert add_user(users, "anna", "another password")
    assert _ask(address, "anna", PASSWORD).status_code == 401
    assert _ask(address, "anna", "another password").status_code == 200
    add_user(users, "bert", PASSWORD)
    remove_user(users, "anna")
    assert _ask(address, "anna", "another password").status_code == 401
    users.write_text("spoilt")
    assert _ask(address, "bert", PASSWORD).status_code == 401


def test_somebody_unknown_takes_as_long_as_somebody_known(users: Path) -> None:
    def seconds(name: str) -> float:
        with running(APP, Login(None, Users(users))) as address:
            _ask(address)
            started = time.monotonic()
            for n in range(8):
                _ask(address, name, f"guess {n}")
            return time.monotonic() - started

    known, unknown = seconds("anna"), seconds("nobody")
    assert 0.3 < known / unknown < 3


def test_the_commands_write_the_file(tmp_path: Path) -> None:
    file = tmp_path / "people"
    done = CliRunner().invoke(app, ["users", "add", "anna", "--file", str(file)], input=f"{PASSWORD}\n")
    assert (done.exit_code, "anna is added" in done.output) == (0, True), done.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith("anna:$argon2id$")
    assert PASSWORD not in file.read_text()
    done = CliRunner().invoke(app, ["users", "add", "anna", "--file", str(file)], input="something else\n")
    assert "has another password now" in done.output
    assert CliRunner().invoke(app, ["users", "remove", "anna", "--file", str(file)]).exit_code == 0
    with pytest.raises(DataError, match="names nobody"):
        Users(file)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "names nobody"),
        ("anna:secret\n", r"line 1: expected NAME:\$argon2id"),
        ("# people\n\nanna\n", "line 3: expected NAME"),
        ("an na:$argon2id$x\n", "line 1: expected NAME"),
        ("a:$argon2id$x\na:$argon2id$y\n", "line 2: names a a second time"),
    ],
)
def test_a_file_that_is_none_is_refused_without_its_content(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "users").write_text(content)
    with pytest.raises(DataError, match=told) as caught:
        Users(tmp_path / "users")
    assert "secret" not in str(caught.value)
    with pytest.raises(DataError, match="can't be read"):
        Users(tmp_path / "none")


@pytest.mark.parametrize(("name", "password"), [("a:b", PASSWORD), ("", PASSWORD), ("token", PASSWORD), ("anna", "short")])
def test_names_and_passwords_that_cannot_be_used(tmp_path: Path, name: str, password: str) -> None:
    with pytest.raises(DataError):
        add_user(tmp_path / "users", name, password)
    assert not (tmp_path / "users").exists()
