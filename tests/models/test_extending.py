"""The generator that docs/extending.md shows is a fourth generator: one file, one line, one block."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from torch import Tensor

from mlops.settings import check, generator_config
from models import registry
from models.base import Generator
from models.config import CheckSettings, GeneratorTrainSettings, ImageSamplingSettings
from models.data import SliceBatches, one_hot
from models.train import train

SECTION = (
    (Path(__file__).parents[2] / "docs/extending.md").read_text().partition("## A fourth generator")[2].partition("\n## ")[0]
)


def _block(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)[0]


@pytest.fixture
def params(tmp_path, monkeypatch):
    """The page's block, with its generator in a file of its own and its line in the registry."""
    (tmp_path / "page_generator.py").write_text(_block("python"))
    monkeypatch.syspath_prepend(tmp_path)
    name, place = re.findall(r'"(.*?)"', _block("text"))
    monkeypatch.setitem(registry.GENERATORS, name, f"page_generator:{place.split(':')[1]}")
    yield YAML(typ="safe").load(_block("yaml"))
    sys.modules.pop("page_generator", None)


@pytest.fixture
def generator(params) -> Generator:
    torch.manual_seed(0)
    small = {**params["blend"], "network": {"width": 16, "layers": 4, "timesteps": 1000}}
    config = generator_config({"blend": small}, "blend")
    return registry.generator_class("blend")(config)


def _slices(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Bright squares on a dark ground, under their masks."""
    masks = np.zeros((count, 16, 16), np.uint8)
    for row, mask in enumerate(masks):
        mask[row % 6 : row % 6 + 8, row % 5 : row % 5 + 8] = 1 + row % 3
    return np.where(masks > 0, 0.8, -0.8), masks


def test_its_block_is_understood(params):
    block = params["blend"]
    assert check(block["train"], GeneratorTrainSettings, "blend.train").epochs == 100
    kind = registry.generator_class("blend")
    for part, settings in (("validation", CheckSettings), ("sampling", ImageSamplingSettings)):
        assert check(block[part], settings, f"blend.{part}").sampler in kind.samplers
    network = kind(generator_config(params, "blend"))
    assert network.config.width == 64
    assert network.timesteps == 1000


def test_it_is_trained_by_the_loop_and_follows_its_masks(params, generator, tmp_path):
    images, masks = _slices(12)
    changes = {"epochs": None, "max_steps": 150, "learning_rate": 5e-3, "warmup_steps": 5, "precision": "float32"}
    settings = check(params["blend"]["train"] | changes, GeneratorTrainSettings, "blend.train")
    batches = SliceBatches(images, masks, batch=8, augment=None, seed=0)
    trained = train(generator, generator.loss, batches, settings, seed=0, state=tmp_path / "state.pt")
    assert trained.history[-1].train_loss < 0.3 * trained.history[0].train_loss
    generator.load_state_dict(trained.weights)
    rows = [0, 3, 11]
    chosen = one_hot(torch.from_numpy(masks[rows]))
    drawn = generator.eval().sample(chosen, [1, 2, 3], sampler="deblend", steps=10)
    real = torch.from_numpy(images[rows, None]).float()
    assert (drawn - real).abs().mean() < 0.1
    assert (drawn - real.roll(1, 0)).abs().mean() > 0.3


def test_one_seed_is_one_image_whatever_the_batch(generator):
    masks = one_hot(torch.from_numpy(_slices(5)[1]))
    whole = generator.sample(masks, [1, 2, 3, 4, 5], sampler="deblend", steps=4)
    part = generator.sample(masks[2:4], [3, 4], sampler="deblend", steps=4)
    assert whole.shape == (5, 1, 16, 16)
    assert (whole[2:4] - part).abs().max() < 1e-3
    other = generator.sample(masks[2:4], [3, 9], sampler="deblend", steps=4)
    assert torch.equal(other[0], part[0])
    assert (other[1] - part[1]).abs().max() > 1e-3


def test_it_can_be_watched_and_guided(generator):
    masks, seen = one_hot(torch.from_numpy(_slices(2)[1])), []

    def watch(done: float, state) -> None:
        seen.append((done, state()))

    drawn = generator.sample(masks, [1, 2], sampler="deblend", steps=4, watch=watch)
    assert [done for done, _ in seen] == [0, 0.25, 0.5, 0.75, 1]
    assert torch.equal(seen[-1][1].clamp(-1, 1), drawn)
    assert torch.equal(seen[0][1][0], torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(1)))
    blind = generator.sample(torch.zeros_like(masks), [1, 2], sampler="deblend", steps=4)
    assert (generator.sample(masks, [1, 2], sampler="deblend", steps=4, guidance=0.0) - blind).abs().max() < 1e-5


def test_the_network_that_knows_the_image_reaches_it_in_any_number_of_steps(generator, monkeypatch):
    """Closed form: with a perfect prediction the mixture keeps its noise and loses its share, down to the image alone."""
    image = torch.rand(1, 1, 16, 16) * 2 - 1
    monkeypatch.setattr(generator, "_clean", lambda x, share, masks: image)
    noise = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(1))
    states: list[tuple[float, Tensor]] = []
    drawn = generator.sample(
        torch.zeros(1, 4, 16, 16), [1], sampler="deblend", steps=3, watch=lambda done, state: states.append((done, state()))
    )
    assert (drawn - image).abs().max() < 1e-6
    for done, state in states:
        assert (state - torch.lerp(noise, image, done)).abs().max() < 1e-5
