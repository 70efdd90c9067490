"""A trained network as a package that can be registered: ``packages/MODEL``.

``model/`` is an MLflow model that loads without this project: code, weights, requirements, signature, example, figures, model
card. ``inhouse/`` holds what is derived from patients and must not leave the house, encrypted: the near-copy filter and the
names of those whom the model was trained on. ``manifest.json`` lists every file; its digest stands for the package.
"""

import importlib.metadata
import json
import logging
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML

import cmr
import models
from cmr.errors import DataError
from cmr.files import whole_folder
from cmr.labels import CLASSES
from cmr.slices import SliceSettings
from cmr.store import SliceStore
from evaluation.privacy.guard import build_guard
from mlops.card import Facts, card, summary
from mlops.gate import MASKS, figures_of
from mlops.house import FILTER, INHOUSE, PATIENTS, seal
from mlops.licences import licences_of
from mlops.manifest import write_manifest
from mlops.records import read_json, read_network
from mlops.release import figures_for_release, names_in
from mlops.settings import DataSettings, GeneratorsSettings, PhantomData, load_params, section
from mlops.yaml_files import read_yaml
from models.checkpoint import CONFIG, WEIGHTS
from models.config import ImageSamplingSettings, MaskSamplingSettings

PACKAGES, MODEL = "packages", "model"
SPLITS = ("train", "val")  # that a network learns from: the second chooses its checkpoint
_COHORT = Path("data", "cohort")
_NEEDED = ("mlflow", "torch", "numpy", "safetensors", "diffusers", "monai", "einops", "torchdiffeq")


def build_package(root: Path, model: str) -> Path:
    """Package the network ``runs/MODEL``, with the figures of ``reports/metrics.json``; returns ``packages/MODEL``.

    Raises:
        DataError: an input is missing or broken, or the disk is full; an older package stays as it was.
    """
    root = root.absolute()
    record = read_network(root, model)
    train_on = section("generators", GeneratorsSettings, root).train_on
    stores = {split: SliceStore.open(root / _COHORT / split) for split in (*SPLITS, "holdout")}
    stated, phantoms = section("data", DataSettings, root).licences, section("phantom", PhantomData, root).datasets
    licences = licences_of(train_on, stated, phantoms)
    facts = Facts(
        model=model,
        size=stores["train"].size,
        record=record,
        figures=figures_of(_released(root), model, train_on[0]),
        licences=licences,
        counts={split: (int(store.index["subject"].nunique()), len(store)) for split, store in stores.items()},
    )
    folder = root / PACKAGES / model
    with whole_folder(folder, needed_bytes=2 * (root / "runs" / model / WEIGHTS).stat().st_size) as temporary:
        _save_model(root, model, temporary / MODEL, facts)
        (temporary / INHOUSE).mkdir()
        arrays = [np.asarray(store.masks if model == MASKS else store.images) for store in (stores["train"], stores["holdout"])]
        lineage = json.dumps(_lineage(record, stores, train_on)).encode("utf-8")
        (temporary / INHOUSE / FILTER).write_bytes(seal(build_guard(*arrays).to_bytes(), FILTER))
        (temporary / INHOUSE / PATIENTS).write_bytes(seal(lineage, PATIENTS))
        about = {
            "model": model,
            "run_key": record["run_key"],
            "size": facts.size,
            "pixel_mm": section("slices", SliceSettings, root).field_of_view_mm / facts.size,
            "licences": tuple(dict.fromkeys(licences.values())),
            "train_on": tuple(train_on),
            "data": _dvc(root, record),
            "summary": summary(facts),
        }
        write_manifest(temporary, about, (MODEL, INHOUSE))
    return folder


def _released(root: Path) -> dict[str, Any]:
    """The project's figures without what could name a patient or a place: a package leaves the house."""
    metrics, names = read_json(root / "reports/metrics.json"), {MASKS, *names_in(load_params(root))}
    return {axis: figures_for_release(metrics.get(axis, {}), names) for axis in ("masks", "fidelity", "utility", "privacy")}


def _save_model(root: Path, model: str, folder: Path, facts: Facts) -> None:
    import mlflow.pyfunc

    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    network = root / "runs" / model
    kind: Any = MaskSamplingSettings if model == MASKS else ImageSamplingSettings
    sampling = section(f"{model}.sampling", kind, root)
    with tempfile.TemporaryDirectory() as scratch:
        drawing = Path(scratch, "drawing.json")
        _write(drawing, {"model": model, "size": facts.size, "sampling": asdict(sampling)})
        files = {"weights": network / WEIGHTS, "config": network / CONFIG, "drawing": drawing}
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={name: str(path) for name, path in files.items()},
            code_paths=[str(Path(room.__path__[0])) for room in (cmr, models)],
            signature=_signature(model, facts.size),
            input_example=_example(model, facts.size),
            pip_requirements=[f"{name}=={_version(name)}" for name in _NEEDED],
        )
    _normalise(folder / "MLmodel")
    _keep_bytecode_out(folder)
    _write(folder / "figures.json", facts.figures)
    (folder / "card.md").write_text(card(root, facts), encoding="utf-8")


def _keep_bytecode_out(folder: Path) -> None:
    """Put a file where Python would make a folder for bytecode: whoever loads the model would add files that no manifest lists.

    Python then goes without, and says nothing.
    """
    for place in {path.parent for path in folder.rglob("*.py")}:
        (place / "__pycache__").write_text("This file keeps bytecode out of the package.\n", encoding="utf-8")


def _normalise(mlmodel: Path) -> None:
    """Take out of MLflow's description what differs each time: random ids, the time, and where the files came from."""
    about = read_yaml(mlmodel)
    for stamp in ("model_uuid", "model_id", "run_id", "utc_time_created"):
        about.pop(stamp, None)
    flavour = about["flavors"]["python_function"]
    flavour["model_code_path"] = Path(flavour["model_code_path"]).name
    for artifact in flavour["artifacts"].values():
        artifact["uri"] = artifact["path"]
    with mlmodel.open("w", encoding="utf-8") as file:
        YAML().dump(about, file)


def _signature(model: str, size: int) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    masks = TensorSpec(np.dtype(np.float32), (-1, CLASSES, size, size), "masks")
    images = TensorSpec(np.dtype(np.float32), (-1, 1, size, size), "images")
    seeds = TensorSpec(np.dtype(np.int64), (-1,), "seeds")
    seed, steps = ParamSpec("seed", "long", 0), ParamSpec("steps", "long", 0)
    if model == MASKS:
        return ModelSignature(Schema([seeds]), Schema([masks]), ParamSchema([steps]))
    params = [seed, steps, ParamSpec("guidance", "double", 0.0)]
    return ModelSignature(Schema([masks]), Schema([images]), ParamSchema(params))


def _example(model: str, size: int) -> dict[str, NDArray]:
    """Two inputs (one would fix the length of the batch): seeds, or hearts drawn with compasses, which are no patient's."""
    if model == MASKS:
        return {"seeds": np.arange(2)}
    row, column = np.mgrid[:size, :size] / size
    labels = np.zeros((2, size, size), np.intp)
    for heart, radius in zip(labels, (0.14, 0.11), strict=True):
        left, right = np.hypot(row - 0.5, column - 0.56), np.hypot(row - 0.5, column - 0.38)
        heart[right < radius * 1.3] = 3
        heart[left < radius * 1.4] = 2
        heart[left < radius] = 1
    return {"masks": np.moveaxis(np.eye(CLASSES, dtype=np.float32)[labels], -1, 1)}


def _lineage(record: dict[str, Any], stores: dict[str, SliceStore], train_on: tuple[str, ...]) -> dict[str, Any]:
    subjects = {}
    for split in SPLITS:
        index = stores[split].index
        subjects[split] = sorted(set(index["dataset"].astype(str) + "/" + index["subject"].astype(str)))
    return {"run_key": record["run_key"], "datasets": list(train_on), "subjects": subjects}


def _dvc(root: Path, record: dict[str, Any]) -> dict[str, str]:
    """What the network was trained on -> DVC's hash of it, where dvc.lock has one."""
    if not (root / "dvc.lock").is_file():
        return {}
    stages = read_yaml(root / "dvc.lock").get("stages", {})
    known = {out["path"]: str(out.get("md5")) for stage in stages.values() for out in stage.get("outs", [])}
    return {path: known[path] for path in record["data"] if path in known}


def _version(package: str) -> str:
    """The installed version, without the suffix of a build (``+cpu``) that no index lists."""
    try:
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(f"{package} is not installed; `pip install -r requirements.lock`.") from error


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
