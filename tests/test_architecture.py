"""The rooms and their arrows: each may use the rooms to its left, and the ground floor stays free of MLOps libraries."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
MAY_USE = {
    "cmr": {"cmr"},
    "models": {"cmr", "models"},
    "evaluation": {"cmr", "models", "evaluation"},
    "mlops": {"cmr", "models", "evaluation", "mlops"},
    "pipelines": {"cmr", "models", "evaluation", "mlops", "pipelines"},
    "app": {"cmr", "models", "evaluation", "mlops", "app"},
}
MLOPS_LIBRARIES = {"mlflow", "ray", "dvc", "optuna", "gradio", "pydantic"}
LIGHT_STAGES = ("phantom", "ingest", "preprocess", "slices", "cohort", "utility", "evaluate_masks", "privacy", "report")


def _imports(room: str) -> Iterator[tuple[Path, str]]:
    for path in sorted((REPOSITORY / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield path, node.module.split(".")[0]


@pytest.mark.parametrize("room", MAY_USE)
def test_arrows_point_one_way(room):
    found = list(_imports(room))
    assert found, f"no imports found in {room}/: is the room still there?"
    wrong = [f"{path}: {name}" for path, name in found if name in MAY_USE and name not in MAY_USE[room]]
    assert not wrong


@pytest.mark.parametrize("room", ["cmr", "models", "evaluation"])
def test_a_bare_gpu_machine_needs_no_mlops_library(room):
    assert not [f"{path}: {name}" for path, name in _imports(room) if name in MLOPS_LIBRARIES]


def test_cmr_needs_no_torch():
    assert not [f"{path}: {name}" for path, name in _imports("cmr") if name in {"torch", "monai", "diffusers"}]


@pytest.mark.slow
def test_stages_without_a_network_load_no_network_library():
    code = f"import sys\nfor name in {LIGHT_STAGES}: __import__(f'pipelines.{{name}}')\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert "pipelines.report" in done.stdout.split()
    assert not {"torch", "monai", "diffusers", "torchmetrics", "ray"} & set(done.stdout.split())
