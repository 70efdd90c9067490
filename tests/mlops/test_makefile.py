"""The virtual environment of a project that was moved is made again, and that of another checkout is left alone."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.mlops.conftest import REPOSITORY


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile with an environment that is up to date, as pip writes its programs."""
    root = tmp_path / "my project"
    (root / ".ci").mkdir(parents=True)
    for name in (
        "Makefile",
        "pyproject.toml",
        "requirements.lock",
        "requirements.cpu.lock",
        "requirements.cuda.lock",
        ".ci/pip.lock",
    ):
        shutil.copyfile(REPOSITORY / name, root / name)
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/bin/syncmri").write_text(f"#!/bin/sh\n'''exec' \"{root}/.venv/bin/python3.11\" \"$0\" \"$@\"\n' '''\n")
    (root / ".venv/.installed").touch()
    return root


def commands(root: Path) -> str:
    return subprocess.run(["make", "-n", "demo"], cwd=root, capture_output=True, text=True, check=True).stdout


def test_an_environment_where_it_was_made_stays(checkout: Path) -> None:
    assert "-m venv" not in commands(checkout)


def test_one_that_was_moved_is_made_again(checkout: Path) -> None:
    assert "-m venv --clear .venv" in commands(checkout.rename(checkout.parent / "my project ü"))


def test_a_link_to_another_checkout_s_environment_is_not_cleared(checkout: Path) -> None:
    other = (checkout / ".venv").rename(checkout.parent / "environment")
    os.utime(other / ".installed")
    (checkout / ".venv").symlink_to(other)
    assert "-m venv" not in commands(checkout)
