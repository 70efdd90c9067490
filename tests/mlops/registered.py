"""A tiny project whose models are registered and keep every limit of the demo's gate, and ways to change that."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ruamel.yaml import YAML

from cmr.store import SliceStore
from mlops.connection import connect
from mlops.package import build_package
from mlops.profiles import merged
from mlops.registry import Version, register
from mlops.settings import load_params
from mlops.sync import sync
from models.checkpoint import save_network
from pipelines.reporting.metrics import gather
from pipelines.reporting.project import Project
from tests.app.approved_project import build_approved_project, network
from tests.mlops.records import figure
from tests.pipelines.project import REPOSITORY

MODEL = "ddpm"
Nested = dict[str, Any]


def build_registered(root: Path) -> Path:
    """The project: version 1 of ``ddpm``, which passes the gate, as the candidate."""
    return build_approved_project(root, (MODEL,), approve=False, leak=_prepare)


def good_figures() -> Nested:
    """By file: figures that keep every limit of the demo."""
    near = {"copies": figure(0.01, 0.0, 0.05, 24), "closer_to_train": figure(0.52, 0.4, 0.64, 24)}
    null = {"closer_to_train_null": figure(0.5, 0.3, 0.7, 24), "c_t": figure(0.2, -1.0, 1.4, 24)}
    return {
        "fidelity": {"kid": figure(0.3, 0.2, 0.4, 32), "mask_adherence_ratio": figure(0.9, 0.85, 0.95, 32)},
        "privacy": {
            **near,
            **null,
            "floor": {"c_t": figure(-0.3, -1.6, 1.0, 24)},
            "augmented": {"copies": figure(0.01, 0.0, 0.05, 24)},
        },
        "membership": {
            "mia_auc": figure(0.55, 0.4, 0.7, 24),
            "mia_auc_blind": figure(0.5, 0.35, 0.65, 24),
            "mia_auc_control": figure(0.99, 0.97, 1.0, 10),
        },
    }


def measure(root: Path, figures: Nested) -> None:
    """Write the figures of the network at hand, as its stages and the stage ``report`` do."""
    folder = root / "reports/figures"
    key = json.loads((root / "runs" / MODEL / "run.json").read_text())["run_key"]
    for axis, found in figures.items():
        content = {"run": MODEL, "run_key": key, "figures": found, "notes": {}}
        (folder / f"{axis}-{MODEL}.json").write_text(json.dumps(content))
    utility = json.loads((folder / "utility.json").read_text())
    utility["figures"][f"{MODEL}-full"]["mnms"]["clinical"]["dice_ratio_to_real"] = figure(0.9, 0.8, 1.0, 8)
    (folder / "utility.json").write_text(json.dumps(utility))
    (root / "reports/metrics.json").write_text(json.dumps(gather(Project(root))))


def retrain(root: Path, figures: Nested | None = None, seed: int = 1) -> Version:
    """Another training of the network, measured and registered."""
    folder = root / "runs" / MODEL
    torch.manual_seed(seed)
    other = network(root, MODEL)
    weights = {name: tensor + 0.01 * torch.randn_like(tensor) for name, tensor in other.state_dict().items()}
    save_network(folder, other.config, weights)
    record = json.loads((folder / "run.json").read_text())
    record["run_key"] = hashlib.sha256(f"{MODEL} {seed}".encode()).hexdigest()
    (folder / "run.json").write_text(json.dumps(record))
    measure(root, figures or good_figures())
    return take_in(root)


def take_in(root: Path) -> Version:
    """Bring the project into MLflow and its network into the registry."""
    sync(root)
    build_package(root, MODEL)
    return register(connect(root), MODEL)


def draw_training_images(root: Path) -> None:
    """A generator that knows its training images by heart: its set holds them."""
    train = SliceStore.open(root / "data/cohort/train")
    key = json.loads((root / "runs" / MODEL / "run.json").read_text())["run_key"]
    names = [f"synthetic-{number:05d}" for number in range(len(train))]
    index = train.index.assign(subject=names, dataset="synthetic", generator=MODEL, model=key, mask_source="full")
    SliceStore.write(root / f"data/sets/{MODEL}-full", index, np.asarray(train.masks), np.asarray(train.images))


def _prepare(root: Path) -> None:
    params = load_params(root)
    params["gate"] = merged(REPOSITORY, "demo")["gate"]
    with (root / "params.yaml").open("w") as file:
        YAML().dump(params, file)
    measure(root, good_figures())
