"""The files of `deploy/`, as far as they can be checked without Docker: what they name is there, their commands are known."""

import fnmatch
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
COMPOSE = YAML(typ="safe").load(ROOT / "deploy/compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
VARIABLE = re.compile(r"\$\{(\w+)(:[?-][^}]*)?\}")


def test_services_depend_on_use_and_mount_what_is_declared() -> None:
    for name, service in SERVICES.items():
        assert service["image"], name
        assert set(service.get("depends_on", [])) <= set(SERVICES)
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert source in COMPOSE["volumes"] or source in ("../params.yaml", "../reports"), f"{name} mounts {source}"
        for other, how in _conditions(service):
            assert how != "service_healthy" or "healthcheck" in SERVICES[other]


def test_every_secret_must_be_given_and_every_variable_is_explained() -> None:
    found = dict(VARIABLE.findall((ROOT / "deploy/compose.yaml").read_text()))
    explained = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / "deploy/.env.example").read_text(), re.MULTILINE))
    assert set(found) == set(explained)
    for name, otherwise in found.items():
        if not explained[name]:
            assert otherwise.startswith(":?"), f"{name} has no value of its own, and nobody is told"
        else:
            assert otherwise == f":-{explained[name]}"
    assert "/deploy/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_only_this_machine_reaches_the_services_unless_said_otherwise() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(port.startswith("${LISTEN:-127.0.0.1}:") for port in published)
    assert COMPOSE["networks"]["back"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == SERVICES["storage"]["networks"] == ["back"]
    assert "SYNCMRI_TOKEN" in SERVICES["serve"]["environment"]


@pytest.mark.parametrize("name", [name for name in SERVICES if SERVICES[name].get("command", [""])[0] == "syncmri"])
def test_the_command_line_understands_the_commands(name: str) -> None:
    from typer.main import get_command

    from app.cli import app

    _, word, *words = SERVICES[name]["command"]
    get_command(app).commands[word].make_context(word, words)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_mlflow_understands_its_command_and_variables() -> None:
    from mlflow.cli import cli

    _, word, *words = SERVICES["mlflow"]["command"]
    server = cli.commands[word]
    assert server.make_context(word, words).params["host"] == "0.0.0.0"
    known = {option.envvar for option in server.params} | {"MLFLOW_S3_ENDPOINT_URL"}
    assert {key for key in SERVICES["mlflow"]["environment"] if key.startswith("MLFLOW_")} <= known


def test_the_image_gets_the_program_and_nothing_else() -> None:
    lines = (ROOT / "deploy/Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]]
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    assert sorted(allowed) == sorted(copied)
    assert all((ROOT / path).exists() for path in copied)
    packages = YAML(typ="safe").load(re.search(r"^include = (\[.*\])$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1])
    assert {name.rstrip("*") for name in packages} == {path for path in copied if (ROOT / path).is_dir()}
    for private in ("data", "runs", "packages", "mlartifacts", "mlflow.db", ".git", ".dvc", "deploy/.env", "params.yaml"):
        assert not any(fnmatch.fnmatch(private, pattern) for pattern in allowed)


def test_what_the_server_needs_beyond_the_lock_is_pinned() -> None:
    lines = [line for line in (ROOT / "deploy/requirements.txt").read_text().splitlines() if not line.startswith("#")]
    locked = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    assert lines
    for line in lines:
        assert re.fullmatch(r"[\w-]+==[\d.]+", line)
        assert line.split("==")[0] not in locked
    compile((ROOT / "deploy/bucket.py").read_text(), "bucket.py", "exec")


def _conditions(service: dict[str, Any]) -> list[tuple[str, str]]:
    found = service.get("depends_on", [])
    return [(other, how["condition"]) for other, how in found.items()] if isinstance(found, dict) else []
