"""docs/diffusers.md: a DDPM that we trained draws the same image without us."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import save_network
from models.config import ScheduleSettings
from models.data import one_hot
from models.ddpm import DDPM, DDPMNetwork

PAGE = Path(__file__).parents[2] / "docs/diffusers.md"


@pytest.fixture
def code() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return block


def test_the_page_needs_nothing_of_syncmri(code):
    imported = {node.module for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"json", "pathlib", "numpy", "torch", "diffusers", "safetensors.torch"}


@pytest.mark.parametrize("schedule", [("linear", 1e-4, 0.02, "epsilon"), ("squaredcos_cap_v2", 1e-4, 0.02, "v_prediction")])
def test_the_page_draws_our_image(code, schedule, tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = DDPM(DDPMNetwork((8, 16), 1, (False, True), 8, 4, ScheduleSettings(1000, *schedule))).eval()
    masks = np.random.default_rng(0).integers(0, 4, (2, 16, 16), dtype=np.uint8)
    for folder in ("runs/ddpm", "data/masks/full"):
        (tmp_path / folder).mkdir(parents=True)
    save_network(tmp_path / "runs/ddpm", network.config, network.state_dict())
    np.save(tmp_path / "data/masks/full/masks.npy", masks)
    monkeypatch.chdir(tmp_path)

    seen: dict = {}
    exec(code, seen)
    ours = network.sample(one_hot(torch.from_numpy(masks[:1])), [7], sampler="ddim", steps=50)
    assert (seen["image"] - ours).abs().max() < 1e-4
    assert ours.std() > 0.1
    others = network.sample(one_hot(torch.from_numpy(masks[1:])), [7], sampler="ddim", steps=50)
    assert (seen["image"] - others).abs().max() > 1e-3  # the mask has its say
