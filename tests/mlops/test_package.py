"""What a package holds, what identifies it, and that it is all that a model needs."""

import json
import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from ruamel.yaml import YAML

from cmr.errors import DataError
from cmr.store import SliceStore
from evaluation.privacy.guard import Guard
from mlops.approvals.keys import KeyFileError
from mlops.house import FILTER, INHOUSE, PATIENTS, seal, unseal
from mlops.manifest import MANIFEST, manifest_digest
from mlops.package import build_package
from mlops.registry import read_package
from mlops.settings import load_params
from models.checkpoint import load_network
from models.device import pick_device
from models.registry import generator_class, saved_class
from tests.app.approved_project import MODELS, SIZE, build_approved_project
from tests.mlops.conftest import REPOSITORY


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with packages of ``masks``, ``ddpm`` and ``ldm``; for reading."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return build_approved_project(tmp_path_factory.mktemp("packages") / "project", approve=False)


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    ignored = shutil.ignore_patterns("mlartifacts", "mlflow.db", "packages")
    return Path(shutil.copytree(made, tmp_path / "project", ignore=ignored))


@pytest.fixture(scope="module")
def loaded(made: Path) -> dict[str, Any]:
    path = list(sys.path)
    models = {name: mlflow.pyfunc.load_model(str(made / "packages" / name / "model")) for name in MODELS}
    sys.path[:] = path
    return models


def digest(root: Path, model: str = "ddpm") -> str:
    build_package(root, model)
    return read_package(root, model)[1]


def masks(count: int = 3) -> np.ndarray:
    labels = np.zeros((count, SIZE, SIZE), int)
    labels[:, 10:20, 10:20] = 2
    labels[:, 13:17, 13:17] = 1
    labels[:, 10:20, 4:9] = 3
    return np.moveaxis(np.eye(4, dtype=np.float32)[labels], -1, 1)


def test_a_package_is_the_model_what_stays_in_house_and_what_they_are(made: Path) -> None:
    folder = made / "packages/ddpm"
    assert {path.name for path in folder.iterdir()} == {"model", INHOUSE, MANIFEST}
    assert {path.name for path in (folder / INHOUSE).iterdir()} == {FILTER, PATIENTS}
    manifest, digest = read_package(made, "ddpm")
    assert digest == manifest_digest(folder / MANIFEST)
    assert (manifest.model, manifest.size, manifest.pixel_mm, manifest.train_on) == ("ddpm", SIZE, 160 / SIZE, ("mnms",))
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    assert set(manifest.files) == files
    lineage = json.loads(unseal(folder / INHOUSE / PATIENTS))
    learnt = {split: set(SliceStore.open(made / "data/cohort" / split).index["subject"]) for split in ("train", "val")}
    assert {split: {name.removeprefix("mnms/") for name in names} for split, names in lineage["subjects"].items()} == learnt
    requirements = (folder / "model/requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in requirements)


def test_the_model_names_no_patient_and_no_folder_of_this_machine(made: Path) -> None:
    for model in MODELS:
        folder = made / "packages" / model
        lineage = json.loads(unseal(folder / INHOUSE / PATIENTS))
        patients = [name.partition("/")[2] for names in lineage["subjects"].values() for name in names]
        patients += sorted(set(SliceStore.open(made / "data/cohort/holdout").index["subject"]))
        for path in (folder / "model").rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert not [name for name in (*patients, str(made), str(REPOSITORY)) if name.encode() in content], path


def test_a_reason_that_tells_a_path_does_not_go_into_the_package(project: Path) -> None:
    path = project / "reports/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["fidelity"]["ddpm"]["lpips"] = {"value": None, "reason": f"{project}/data/cohort/train of mnms-train-00: broken"}
    path.write_text(json.dumps(metrics))
    build_package(project, "ddpm")
    for name in ("figures.json", "card.md"):
        text = (project / "packages/ddpm/model" / name).read_text()
        assert (str(project) in text, "mnms-train-00" in text) == (False, False)
    assert json.loads((project / "packages/ddpm/model/figures.json").read_text())["fidelity"]["lpips"]["value"] is None


def test_the_guard_of_a_package_knows_its_training_slices(made: Path) -> None:
    train, test = (SliceStore.open(made / "data/cohort" / split) for split in ("train", "test"))
    images = Guard.from_bytes(unseal(made / "packages/ddpm" / INHOUSE / FILTER))
    labels = Guard.from_bytes(unseal(made / "packages/masks" / INHOUSE / FILTER))
    assert images.copies(np.asarray(train.images)).all()
    assert images.copies(np.asarray(test.images)).mean() < 0.2
    assert labels.copies(np.asarray(train.masks)).all()


def test_the_same_training_packaged_again_is_the_same(project: Path, made: Path) -> None:
    first = digest(project)
    assert first == read_package(made, "ddpm")[1]  # in another folder, at another time
    params = (project / "params.yaml").read_text()
    assert "Limits of a test" in params
    (project / "params.yaml").write_text(params.replace("Limits of a test", "Other limits"))
    assert digest(project) == first  # what is asked of a model is no part of it


def test_other_figures_or_other_patients_make_another_package(project: Path) -> None:
    first = digest(project)
    metrics = json.loads((project / "reports/metrics.json").read_text())
    metrics["fidelity"]["ddpm"]["ssim"]["value"] = 0.123
    (project / "reports/metrics.json").write_text(json.dumps(metrics))
    second = digest(project)
    train = SliceStore.open(project / "data/cohort/train")
    some = train.select(train.index["subject"] != train.index["subject"].iloc[0])
    SliceStore.write(project / "data/cohort/train", some.index, some.masks, some.images)
    assert len({first, second, digest(project)}) == 3


def test_card_says_what_people_must_know(made: Path, project: Path) -> None:
    card = (made / "packages/ddpm/model/card.md").read_text()
    for text in ("# syncmri-ddpm", "Not for diagnosis", "| train | 6 | 48 |", "CC0", "ssim | 0.31 | 0.2883 to 0.3255"):
        assert text in card
    assert "fidelity/lpips | – | " in card
    params = load_params(project)
    params["phantom"]["datasets"] = []
    params["data"]["licences"]["mnms"] = "CC BY-NC-SA 4.0"
    with (project / "params.yaml").open("w") as file:
        YAML().dump(params, file)
    build_package(project, "ddpm")
    assert read_package(project, "ddpm")[0].licences == ("CC BY-NC-SA 4.0",)
    assert "allows no commercial use" in (project / "packages/ddpm/model/card.md").read_text()


def test_without_figures_there_is_no_package_and_an_older_one_stays(project: Path) -> None:
    first = digest(project)
    (project / "reports/metrics.json").unlink()
    with pytest.raises(DataError, match=r"metrics\.json: missing"):
        build_package(project, "ddpm")
    assert read_package(project, "ddpm")[1] == first
    assert [path.name for path in (project / "packages").iterdir()] == ["ddpm"]
    with pytest.raises(DataError, match="missing"):
        read_package(project, "fm")


def test_nothing_of_the_in_house_part_is_readable_or_opens_with_another_key(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = made / "packages/ddpm" / INHOUSE
    patients = SliceStore.open(made / "data/cohort/train").index["subject"].unique()
    for path in sealed.iterdir():
        content = path.read_bytes()
        assert not [name for name in patients if name.encode() in content]
        assert not content.startswith(b"PK")
        zipped = lzma.compress(content)
        assert len(zipped) > 0.99 * len(content)  # nothing in it repeats
    changed = tmp_path / FILTER
    changed.write_bytes((sealed / FILTER).read_bytes()[:-1] + b"x")
    renamed = tmp_path / PATIENTS
    renamed.write_bytes((sealed / FILTER).read_bytes())
    for path in (changed, renamed):
        with pytest.raises(KeyFileError, match="does not open this file"):
            unseal(path)
    monkeypatch.setenv("SYNCMRI_KEYS", str(tmp_path / "others"))
    with pytest.raises(KeyFileError, match="no house key on this machine"):
        unseal(sealed / FILTER)
    seal(b"", "makes another house's key")
    with pytest.raises(KeyFileError, match="encrypted with another key"):
        unseal(sealed / FILTER)


def test_a_changed_missing_or_added_file_is_named(project: Path) -> None:
    build_package(project, "ddpm")
    folder = project / "packages/ddpm"
    weights, card = folder / "model/artifacts/weights.safetensors", folder / "model/card.md"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match=r"weights\.safetensors: changed"):
        read_package(project, "ddpm")
    weights.write_bytes(whole)
    for name in ("model/code/models/__init__.pyc", "model/.hidden", "inhouse/more"):
        (folder / name).write_text("x")
        with pytest.raises(DataError, match=f"{re.escape(name)}: not listed"):
            read_package(project, "ddpm")
        (folder / name).unlink()
    text = card.read_bytes()
    card.unlink()
    with pytest.raises(DataError, match=r"card\.md: missing"):
        read_package(project, "ddpm")
    (project / "card.md").write_bytes(text)
    card.symlink_to(project / "card.md")
    with pytest.raises(DataError, match=r"card\.md: a link"):
        read_package(project, "ddpm")
    card.unlink()
    card.write_bytes(text)
    read_package(project, "ddpm")


def test_loading_a_package_adds_no_file_to_it(made: Path, loaded: dict[str, Any]) -> None:
    for name in loaded:
        read_package(made, name)


def test_a_package_draws_as_its_network_does(made: Path, loaded: dict[str, Any]) -> None:
    import torch

    for name in ("ddpm", "ldm"):
        images = loaded[name].predict({"masks": masks()}, params={"seed": 5})
        settings = loaded[name].unwrap_python_model().settings
        network = load_network(made / "runs" / name, generator_class(name), pick_device())
        seeds = [int(seed >> np.uint64(1)) for seed in np.random.SeedSequence(5).generate_state(3, np.uint64)]
        how = {"sampler": settings.sampler, "steps": settings.steps, "precision": settings.precision}
        assert np.allclose(images, network.sample(torch.from_numpy(masks()), seeds, guidance=1.0, **how).numpy(), atol=1e-3)
        assert images.dtype == np.float32
        alone = loaded[name].predict({"masks": masks(1)}, params={"seed": 5})
        assert np.allclose(alone, images[:1], atol=1e-3)  # the same image however many are drawn
    drawn = loaded["masks"].predict({"seeds": np.array([3, 2**63 - 1])})
    network = load_network(made / "runs/masks", saved_class(made / "runs/masks", "masks"), pick_device())
    settings = loaded["masks"].unwrap_python_model().settings
    labels = network.sample(SIZE, [3, 2**63 - 1], sampler=settings.sampler, steps=settings.steps, precision=settings.precision)
    assert (drawn.argmax(axis=1) == labels.numpy()).mean() > 0.99
    assert set(np.unique(drawn)) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("given", "params", "told"),
    [
        (masks()[:, :3], {}, "shape"),
        (masks() * 0.5, {}, "not one-hot"),
        (np.zeros_like(masks()), {}, "not one-hot"),
        (np.full_like(masks(), np.nan), {}, "not one-hot"),
        (masks(), {"seed": -1}, "seed: found -1"),
        (masks(), {"steps": 1001}, "steps: found 1001"),
        (masks(), {"steps": -1}, "steps: found -1"),
        (masks(), {"guidance": float("nan")}, "guidance: found nan"),
        (masks(), {"seed": "many"}, "seed"),
    ],
)
def test_what_it_cannot_draw_from_is_told(loaded: dict[str, Any], given: np.ndarray, params: dict[str, Any], told: str) -> None:
    with pytest.raises(MlflowException, match=told):
        loaded["ddpm"].predict({"masks": given}, params=params)


def test_seeds_below_zero_are_told(loaded: dict[str, Any]) -> None:
    with pytest.raises(MlflowException, match="seeds: found -4"):
        loaded["masks"].predict({"seeds": np.array([1, -4])})


@pytest.mark.slow
def test_a_package_needs_nothing_but_itself(made: Path, tmp_path: Path) -> None:
    """Alone in a folder it runs the code that it carries, and neither this project nor DVC."""
    model = shutil.copytree(made / "packages/ldm/model", tmp_path / "alone")
    code = (
        "import sys, mlflow.pyfunc, numpy as np\n"
        f"loaded = mlflow.pyfunc.load_model({str(model)!r})\n"
        "print(loaded.predict(loaded.input_example, params={'seed': 1}).shape)\n"
        "print(sys.modules['models.ldm'].__file__, sys.modules['cmr'].__file__)\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'dvc', 'mlops', 'evaluation', 'app', 'pipelines', 'ray'})"
    )
    # -I: neither the working directory nor PYTHONPATH leads back to the project.
    words = [sys.executable, "-I", "-c", code]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    shape, files, *rest = done.stdout.splitlines()
    assert shape == f"(2, 1, {SIZE}, {SIZE})"
    assert all(path.startswith(str(model)) for path in files.split())
    assert rest in ([], [""])
