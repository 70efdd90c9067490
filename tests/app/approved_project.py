"""A tiny project with approved models: real networks of random weights, packaged, registered and promoted by the real code."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML
from torch import nn

from cmr.slices import training_masks
from cmr.store import SliceStore
from mlops.connection import connect
from mlops.lineage import WITHDRAWN
from mlops.package import build_package
from mlops.profiles import merged
from mlops.promotion import promote
from mlops.registry import register, registered_name
from mlops.settings import generator_config, load_params, mask_config
from mlops.sync import sync
from models.checkpoint import save_network
from models.registry import GENERATORS, generator_class, mask_model
from pipelines.reporting.metrics import gather
from pipelines.reporting.project import Project
from tests.pipelines.project import REPOSITORY, TINY
from tests.pipelines.report_project import build_project

SIZE = 32
MODELS = ("masks", "ddpm", "ldm")
PATIENT = "mnms-train-00"  # one of those trained on; as all of them, called mnms-train-NN

GATE = {
    "meaning": "Limits of a test, which the figures of the project for the report keep.",
    "images": {
        "fidelity": {"mask_adherence_ratio": {"at_least": 0.5}},
        "utility": {"full_dice": {"at_least": 0.3}},
        "privacy": {"copies": {"at_most": 0.05}},
    },
    "masks": {"masks": {"valid_share": {"at_least": 0.5}}, "privacy": {"copies": {"at_most": 0.05}}},
}


def build_approved_project(
    root: Path, models: Sequence[str] = MODELS, *, approve: bool = True, leak: Callable[[Path], None] | None = None
) -> Path:
    """Make the project at ``root``; the environment must name no MLflow server.

    Args:
        models: of those of :data:`mlops.registry.MODELS`.
        approve: promote every model; otherwise they stay candidates.
        leak: changes the project (its training slices, say) before the models are packaged.
    """
    generators = tuple(name for name in models if name in GENERATORS)
    build_project(root, generators=generators or ("ddpm",), size=SIZE)
    (root / ".dvc").mkdir()
    _write_params(root, generators or ("ddpm",))
    for name in ("acdc", "mnms"):
        masks = training_masks(SliceStore.open(root / "data/slices" / name))
        SliceStore.write(root / "data/masks" / name, masks.index, masks.masks)
    for name in models:
        _write_network(root, name)
    (root / "reports/metrics.json").write_text(json.dumps(gather(Project(root))))
    if leak:
        leak(root)
    sync(root)
    for name in models:
        build_package(root, name)
        register(connect(root), name)
        if approve:
            decision = promote(root, name, user="test")
            assert decision.approved, decision.reasons
    return root


@contextmanager
def consent_withdrawn(root: Path, model: str) -> Iterator[None]:
    """Within it, version 1 is marked as ``syncmri exclude`` marks it; it still is approved."""
    client = connect(root).client
    client.set_model_version_tag(registered_name(model), "1", WITHDRAWN, "2026-01-01")
    try:
        yield
    finally:
        client.delete_model_version_tag(registered_name(model), "1", WITHDRAWN)


@contextmanager
def approved_by_override(root: Path, model: str, reason: str) -> Iterator[None]:
    """Within it, version 1 is approved by override of limits that it does not keep."""
    params = root / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("at_least: 0.3", "at_least: 0.99"))
    try:
        assert promote(root, model, 1, override=reason, user="test").override == reason
        yield
    finally:
        params.write_text(before)
        promote(root, model, 1, user="test")


def network(root: Path, name: str) -> nn.Module:
    """The untrained network of a model, the same each time."""
    params = load_params(root)
    torch.manual_seed(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    if name == "masks":
        return _drawing_something(mask_model(mask_config(params)))
    return generator_class(name)(generator_config(params, name))


def _drawing_something(masks: nn.Module) -> nn.Module:
    """The last layer begins at zero, with which every distance is zero and every mask empty."""
    with torch.no_grad():
        for parameter in masks.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return masks


def _write_params(root: Path, generators: Sequence[str]) -> None:
    made: dict[str, Any] = load_params(root)
    params = merged(REPOSITORY, "demo")
    for key, text in TINY.items():
        *parents, last = key.split(".")
        block = params
        for parent in parents:
            block = block[parent]
        block[last] = YAML(typ="safe").load(text)
    params["slices"]["size"] = SIZE
    params["generators"] |= {"names": list(generators), "sources": made["generators"]["sources"]}
    params["utility"]["setups"] = made["utility"]["setups"]
    for name in ("masks", *generators):
        params[name]["sampling"]["precision"] = "float32"  # in which a picture is the same in any batch
    params["gate"] = GATE
    with (root / "params.yaml").open("w") as file:
        YAML().dump(params, file)


def _write_network(root: Path, name: str) -> None:
    """``runs/NAME`` as its training stage leaves it, over what the project for the report has there."""
    folder, untrained = root / "runs" / name, network(root, name)
    save_network(folder, untrained.config, untrained.state_dict())
    record = json.loads((folder / "run.json").read_text())
    record["run_key"] = hashlib.sha256(name.encode()).hexdigest()
    record["params"] = {part: value for part, value in load_params(root)[name].items() if part in ("network", "train")}
    (folder / "run.json").write_text(json.dumps(record))
    figures = root / "reports/figures"
    for path in [*figures.glob(f"*-{name}.json"), *figures.glob(f"{name}.json")]:
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"run": name, "run_key": record["run_key"]}))
