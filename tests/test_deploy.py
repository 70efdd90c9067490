"""The files of `deploy/`, as far as they can be checked without Docker: what they name is there, their commands are known."""

import fnmatch
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
READER = "reader"
LOCKS = ["requirements.lock", "requirements.cpu.lock", "requirements.cuda.lock", "deploy/requirements.txt"]
LOCKS += [".ci/pip.lock", ".ci/tools.lock"]
COMPOSE = YAML(typ="safe").load(ROOT / "deploy/compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
MOUNTED = ("../params.yaml", "../trusted_keys.yaml", "../reports/release", "../inhouse", "../inhouse/exports")
VARIABLE = re.compile(r"\$\{(\w+)(:[?-][^}]*)?\}")


def test_services_depend_on_use_and_mount_what_is_declared() -> None:
    for name, service in SERVICES.items():
        assert service["image"], name
        assert set(service.get("depends_on", [])) <= set(SERVICES)
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert source in COMPOSE["volumes"] or source in MOUNTED, f"{name} mounts {source}"
            assert mount.endswith(":ro") or source in COMPOSE["volumes"] or source == "../inhouse/exports", mount
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
    for name in ("serve", "studio"):
        assert {"SYNCMRI_TOKEN", "SYNCMRI_KEYS"} <= set(SERVICES[name]["environment"])
        assert SERVICES[name]["environment"]["MLFLOW_TRACKING_USERNAME"] == READER
        assert SERVICES[name]["secrets"] == ["house.key"]  # and never the key that approves


@pytest.mark.parametrize("name", list(SERVICES))
def test_no_service_can_take_the_machine_down_or_change_itself(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["mem_limit"] == service["memswap_limit"]
    assert 0 < service["pids_limit"] <= 512
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(len(place.split(":")) == 1 or "size=" in place for place in service["tmpfs"])
    assert re.search(r":[\w.-]+(@sha256:[0-9a-f]{64})?$", service["image"]) or service["image"] == "syncmri"


@pytest.mark.parametrize("name", [name for name in SERVICES if SERVICES[name].get("command", [""])[0] == "syncmri"])
def test_the_command_line_understands_the_commands(name: str) -> None:
    from typer.main import get_command

    from app.cli import app

    _, word, *words = SERVICES[name]["command"]
    get_command(app).commands[word].make_context(word, words)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_mlflow_understands_its_command_and_variables() -> None:
    from mlflow import environment_variables
    from mlflow.cli import cli

    _, word, *words = SERVICES["mlflow"]["command"]
    server = cli.commands[word]
    options = server.make_context(word, words).params
    assert (options["host"], options["app_name"]) == ("0.0.0.0", "basic-auth")
    known = {option.envvar for option in server.params} | {"MLFLOW_S3_ENDPOINT_URL"}
    given = {key for key in SERVICES["mlflow"]["environment"] if key.startswith("MLFLOW_")}
    assert given - known == {"MLFLOW_AUTH_CONFIG_PATH", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"}
    assert all(hasattr(environment_variables, key) for key in given - known)


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


def locked(path: str) -> dict[str, tuple[str, list[str]]]:
    """Name of a package -> its version and the hashes that it may have."""
    blocks = re.findall(r"^([\w.-]+)==([^\s\\]+)((?:.*\\\n)*.*)$", (ROOT / path).read_text(), re.MULTILINE)
    return {name: (version, re.findall(r"sha256:([0-9a-f]{64})", rest)) for name, version, rest in blocks}


@pytest.mark.parametrize("path", LOCKS)
def test_whatever_is_installed_has_a_version_and_a_hash(path: str) -> None:
    lines = [line for line in (ROOT / path).read_text().splitlines() if line and not line.lstrip().startswith(("#", "--hash"))]
    found = locked(path)
    assert len(lines) == len(found) > 0, "make lock"
    assert all(hashes for _, hashes in found.values())


def test_the_lock_holds_what_the_project_names() -> None:
    """A dependency that was added by hand needs `make lock`; floors and locked versions agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = locked("requirements.lock")
    for text in project["dependencies"] + project["optional-dependencies"]["dev"]:
        wanted = Requirement(text)
        version, _ = found[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(version), f"{text}, locked is {version}: make lock"


def test_the_locked_torch_may_be_cpu_or_cuda() -> None:
    version, hashes = locked("requirements.lock")["torch"]
    cpu_version, cpu = locked("requirements.cpu.lock")["torch"]
    assert cpu_version == f"{version}+cpu"
    assert set(cpu) < set(hashes)
    assert not set(locked("requirements.cuda.lock")) & set(locked("requirements.lock"))
    assert all(name.startswith(("nvidia-", "cuda-")) or name == "triton" for name in locked("requirements.cuda.lock"))


@pytest.mark.parametrize("place", ["Makefile", "deploy/Dockerfile", "deploy/ray.Dockerfile"])
def test_every_installation_asks_for_hashes(place: str) -> None:
    text = (ROOT / place).read_text().replace("\\\n", " ")
    installing = [
        line for line in text.splitlines() if "requirement" in line and "install" in line and not line.startswith("#")
    ]
    assert installing
    for line in installing:
        assert "--require-hashes" in line or "PIP_REQUIRE_HASHES=1" in text.split(line)[0], line


def test_what_the_server_needs_beyond_the_lock_is_not_in_it() -> None:
    assert not set(locked("deploy/requirements.txt")) & set(locked("requirements.lock"))
    for name in ("bucket.py", "users.py"):
        compile((ROOT / "deploy" / name).read_text(), name, "exec")


def test_the_cluster_launcher_understands_its_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    cluster = YAML(typ="safe").load(ROOT / "deploy/ray-cluster.yaml")
    prepared = prepare_config(cluster)
    validate_config(prepared)
    assert prepared["available_node_types"]["local.cluster.node"]["min_workers"] == len(cluster["provider"]["worker_ips"])
    with pytest.raises(Exception, match="worker_start_ray_command"):
        validate_config(prepared | {"worker_start_ray_command": []})  # a field that is mistyped is found


@pytest.mark.parametrize("role", ["head", "worker"])
def test_every_node_asks_for_the_token(role: str) -> None:
    [command] = [line for line in _cluster_lines(role) if "ray start" in line]
    before = command.split("ray start")[0]
    assert "RAY_AUTH_MODE=token" in before
    assert "RAY_AUTH_TOKEN_PATH=/srv/syncmri/.syncmri/ray_token" in before
    [_, job] = list(YAML(typ="safe").load_all(ROOT / "deploy/rayjob.yaml"))
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("role", ["head", "worker"])
def test_ray_understands_how_nodes_are_started(role: str) -> None:
    from ray.scripts.scripts import start

    [command] = [line for line in _cluster_lines(role) if "ray start" in line]
    made = start.make_context("start", shlex.split(command.split("ray start", 1)[1]))
    assert made.params["head"] == (role == "head")
    assert (made.params["port"] or made.params["address"].rpartition(":")[2]) in (6379, "6379")
    assert {match[0] for match in re.findall(r"(/srv/\w+)(/|\b)", " ".join(_cluster_lines(role)))} == {"/srv/syncmri"}


def test_the_job_on_kubernetes_is_one_folder_for_all_pods() -> None:
    claim, job = YAML(typ="safe").load_all(ROOT / "deploy/rayjob.yaml")
    assert (claim["kind"], job["kind"], job["apiVersion"]) == ("PersistentVolumeClaim", "RayJob", "ray.io/v1")
    assert "ReadWriteMany" in claim["spec"]["accessModes"]
    cluster = job["spec"]["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["project"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        [container] = pod["containers"]
        places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(places) == set(volumes)
        assert f"cd {places['project']} " in job["spec"]["entrypoint"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
    assert all(group["minReplicas"] <= group["replicas"] <= group["maxReplicas"] for group in cluster["workerGroupSpecs"])


def test_the_job_on_kubernetes_runs_a_command_of_ours() -> None:
    from typer.main import get_command

    from app.cli import app

    job = list(YAML(typ="safe").load_all(ROOT / "deploy/rayjob.yaml"))[1]
    *_, script = shlex.split(job["spec"]["entrypoint"])
    words = shlex.split(script.rpartition("python -m app.cli")[2])
    get_command(app).commands[words[0]].make_context(words[0], words[1:])  # type: ignore[attr-defined]


def test_every_place_names_the_same_ray() -> None:
    version, _ = locked("requirements.lock")["ray"]
    job = list(YAML(typ="safe").load_all(ROOT / "deploy/rayjob.yaml"))[1]
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == version
    image = re.search(
        r"^FROM rayproject/ray:([\d.]+)-py(\d+)(?:@sha256:\w+)?$", (ROOT / "deploy/ray.Dockerfile").read_text(), re.MULTILINE
    )
    python = re.search(r"^PYTHON \?= python([\d.]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert (image[1], image[2]) == (version, python.replace(".", ""))


def _cluster_lines(role: str) -> list[str]:
    return YAML(typ="safe").load(ROOT / "deploy/ray-cluster.yaml")[f"{role}_start_ray_commands"]


def _conditions(service: dict[str, Any]) -> list[tuple[str, str]]:
    found = service.get("depends_on", [])
    return [(other, how["condition"]) for other, how in found.items()] if isinstance(found, dict) else []
