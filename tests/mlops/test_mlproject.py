"""Every entry point of MLproject is a command that the command line takes."""

import shlex

import pytest
from mlflow.projects._project_spec import load_project
from typer.main import get_command

from app.cli import app
from tests.mlops.conftest import REPOSITORY

PROJECT = load_project(str(REPOSITORY))
COMMANDS = {"main": "run", "tune": "tune", "promote": "promote", "serve": "serve"}


def test_the_entry_points_are_those_of_the_documentation() -> None:
    assert set(PROJECT._entry_points) == set(COMMANDS)


@pytest.mark.parametrize("entry", list(COMMANDS))
def test_entry_points_are_commands(entry: str) -> None:
    words = shlex.split(PROJECT.get_entry_point(entry).compute_command({}, None))
    assert words[:4] == ["python", "-m", "app.cli", COMMANDS[entry]]
    command = get_command(app).commands[words[3]]  # type: ignore[attr-defined]
    command.make_context(words[3], words[4:])  # raises where an argument or an option is unknown or missing
