"""A run that has no git revision says so, and says why."""

import subprocess
from pathlib import Path

import pytest

from mlops.doctor import examine
from mlops.revision import revision
from mlops.sync import sync
from tests.mlops.test_tracking import found, write_network

GIT = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org"]


def git(folder: Path, *words: str) -> str:
    return subprocess.run([*GIT, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def committed(versioned: Path, demo: Path) -> Path:
    git(demo, "add", "params.yaml")
    git(demo, "commit", "--quiet", "--message", "params")
    return demo


def check(root: Path) -> tuple[str, str, str]:
    (one,) = (check for check in examine(root) if check.name == "revision")
    return one.state, one.found, one.advice


def test_a_repository_of_another_user(
    committed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert revision(committed).commit == git(committed, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch, for its own tests
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    state, said, advice = check(committed)
    assert (state, "another user" in said) == ("warn", True)
    assert f"safe.directory {committed}" in advice
    write_network(committed)
    sync(committed)
    tags = found(committed).data.tags
    assert tags["git.unknown"] == "the repository belongs to another user"
    assert "mlflow.source.git.commit" not in tags
    assert "safe.directory" in capsys.readouterr().err


def test_an_archive_inside_of_somebody_s_repository_has_not_its_revision(demo: Path) -> None:
    git(demo.parent, "init", "--quiet")
    git(demo.parent, "commit", "--quiet", "--allow-empty", "--message", "my home folder")
    assert revision(demo).commit == ""
    assert "does not hold" in revision(demo).why
    git(demo.parent, "add", "project/params.yaml")
    assert revision(demo).commit == git(demo.parent, "rev-parse", "HEAD")


def test_nothing_committed_and_no_repository(versioned: Path, tmp_path: Path) -> None:
    assert "nothing is committed" in revision(versioned).why
    assert revision(tmp_path).why == "no git repository"
    assert revision(tmp_path).tags == {"git.unknown": "no git repository"}


def test_without_git(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(committed))
    assert revision(committed).why == "git is not installed"
