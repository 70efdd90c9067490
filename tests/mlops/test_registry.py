"""One package, one version: also when registering is repeated, done by two at once, or killed at any moment."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from cmr.errors import DataError
from mlops import registry
from mlops.connection import Tracking, connect
from mlops.house import FILTER, INHOUSE, inhouse_files
from mlops.package import build_package
from tests.app.approved_project import build_approved_project
from tests.mlops.conftest import REPOSITORY

MODEL = "ddpm"


class KilledError(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a package, in MLflow, with version 1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return build_approved_project(tmp_path_factory.mktemp("registry") / "project", (MODEL,), approve=False)


@pytest.fixture
def tracking(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    """A connection to a copy of the project."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return connect(Path(shutil.copytree(made, tmp_path / "project")))


def measure_again(root: Path, ssim: float) -> None:
    """Other figures, hence another package of the same training."""
    metrics = json.loads((root / "reports/metrics.json").read_text())
    metrics["fidelity"][MODEL]["ssim"]["value"] = ssim
    (root / "reports/metrics.json").write_text(json.dumps(metrics))
    build_package(root, MODEL)


def package_of(tracking: Tracking, version: registry.Version) -> Path:
    assert version.digest
    return registry.download_package(tracking, version, version.digest)[0] / "model"


def numbers(tracking: Tracking) -> list[int]:
    return [one.number for one in registry.versions(tracking, MODEL)]


def test_a_version_says_what_it_is(tracking: Tracking) -> None:
    (found,) = registry.versions(tracking, MODEL)
    manifest, digest = registry.read_package(tracking.root, MODEL)
    assert (found.model, found.name, found.number, found.aliases) == (MODEL, "syncmri-ddpm", 1, ("candidate",))
    assert found.digest == digest
    assert found.tags["syncmri.run_key"] == manifest.run_key
    assert {found.tags[f"syncmri.{key}"] for key in ("size", "licences", "train_on")} == {"32", "CC0 1.0", "mnms"}
    run = tracking.client.get_run(found.run_id)
    assert run.data.tags["syncmri.run_key"] == manifest.run_key  # the run of the training itself
    described = tracking.client.get_model_version(found.name, "1")
    assert "6 patients of mnms" in described.description


def test_the_same_package_is_registered_once(tracking: Tracking) -> None:
    assert registry.register(tracking, MODEL).number == registry.register(tracking, MODEL).number == 1
    build_package(tracking.root, MODEL)
    assert registry.register(tracking, MODEL).number == 1
    measure_again(tracking.root, 0.2)
    second = registry.register(tracking, MODEL)
    assert (second.number, second.aliases, numbers(tracking)) == (2, ("candidate",), [2, 1])
    assert registry.version(tracking, MODEL, 1).aliases == ()
    measure_again(tracking.root, 0.31)  # as before
    assert registry.register(tracking, MODEL).number == 1
    assert registry.version(tracking, MODEL, 2).aliases == ("candidate",)  # an old one becomes no news


def test_what_is_not_there_is_told(tracking: Tracking) -> None:
    assert registry.versions(tracking, "fm") == []
    assert registry.approved(tracking, MODEL) is None
    assert registry.packaged(tracking.root) == [MODEL]
    with pytest.raises(DataError, match="has no version 7; there are: 1"):
        registry.version(tracking, MODEL, 7)
    with pytest.raises(DataError, match=r"packages/fm/manifest\.json: missing"):
        registry.register(tracking, "fm")


def test_a_package_of_a_training_that_is_gone_is_refused(tracking: Tracking) -> None:
    root = tracking.root
    measure_again(root, 0.2)
    tracking.client.delete_run(registry.version(tracking, MODEL, 1).run_id)
    record = json.loads((root / "runs" / MODEL / "run.json").read_text())
    (root / "runs" / MODEL / "run.json").write_text(json.dumps(record | {"run_key": "f" * 64}))
    with pytest.raises(DataError, match="packaged from another training"):
        registry.register(tracking, MODEL)
    assert numbers(tracking) == [1]


def test_a_fresh_database_is_filled_from_what_is_on_disk(tracking: Tracking) -> None:
    (tracking.root / "mlflow.db").unlink()
    again = connect(tracking.root)
    found = registry.register(again, MODEL)
    assert (found.number, found.aliases) == (1, ("candidate",))
    assert (package_of(again, found) / "MLmodel").is_file()


@pytest.mark.parametrize(
    "moment", ["log_artifacts", "log_artifact", "create_model_version", "set_registered_model_alias", "get_registered_model"]
)
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_moment_the_next_call_completes_it(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch, moment: str, after: bool
) -> None:
    measure_again(tracking.root, 0.2)
    done = getattr(MlflowClient, moment)

    def killed(self: MlflowClient, *args: object, **kwargs: object) -> None:
        if after:
            done(self, *args, **kwargs)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, moment, killed)
        with pytest.raises(KilledError):
            registry.register(tracking, MODEL)
    for found in registry.versions(tracking, MODEL):  # whatever is visible is whole
        assert found.tags["syncmri.package"]
        assert found.digest
        assert (inhouse_files(tracking.root, found.digest) / FILTER).is_file()
    second = registry.register(tracking, MODEL)
    assert (second.number, second.aliases, numbers(tracking)) == (2, ("candidate",), [2, 1])
    assert (package_of(tracking, second) / "card.md").is_file()


def test_two_at_once_make_one_version(tracking: Tracking) -> None:
    measure_again(tracking.root, 0.2)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: registry.register(connect(tracking.root), MODEL).number, range(4)))
    assert found == [2] * 4
    assert numbers(tracking) == [2, 1]


def test_files_that_were_changed_in_the_store_are_not_used(tracking: Tracking) -> None:
    measure_again(tracking.root, 0.777)
    second = registry.register(tracking, MODEL)
    stored = Path(tracking.client.download_artifacts(second.run_id, ""))  # a local store gives its own folder
    (figures,) = (stored / "packages" / second.tags["syncmri.package"][:16]).rglob("figures.json")
    figures.write_text(figures.read_text().replace("0.777", "0.9"))
    with pytest.raises(DataError, match=r"not those that were registered\. model/figures\.json: changed"):
        package_of(tracking, second)
    assert not list((tracking.root / ".syncmri/registry").glob("*/model/figures.json"))


def test_a_copy_that_is_kept_here_is_checked_each_time(tracking: Tracking) -> None:
    found = registry.version(tracking, MODEL, 1)
    card = package_of(tracking, found) / "card.md"
    card.write_text(card.read_text() + " ")
    with pytest.raises(DataError, match=r"card\.md: changed"):
        package_of(tracking, found)


def test_mlflow_gets_nothing_of_the_in_house_part(tracking: Tracking) -> None:
    found = registry.version(tracking, MODEL, 1)
    stored = Path(tracking.client.download_artifacts(found.run_id, ""))
    names = {path.name for path in stored.rglob("*")}
    assert "weights.safetensors" in names
    assert not [name for name in names if "guard" in name or "lineage" in name or name == INHOUSE]


def test_lineage_names_whom_it_learnt_from(tracking: Tracking) -> None:
    digest = registry.version(tracking, MODEL, 1).digest
    assert digest
    found = registry.patients_behind(tracking, digest)
    assert set(found) == {"train", "val"}
    assert len(found["train"]) == 6
    assert all(name.startswith("mnms/mnms-train-") for name in found["train"])


@pytest.mark.slow
def test_sync_and_register_on_the_command_line(tracking: Tracking) -> None:
    root = tracking.root
    measure_again(root, 0.2)
    for command in ("sync", "register"):
        words = [sys.executable, "-c", "from app.cli import main; main()", command]
        environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(root)}
        done = subprocess.run(words, cwd=root, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert "syncmri-ddpm version 2" in done.stdout
    assert numbers(tracking) == [2, 1]
