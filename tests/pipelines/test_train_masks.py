"""How the mask model is validated while it trains."""

from dataclasses import replace

import pytest
import torch

from models.config import TrainSettings
from models.data import one_hot
from models.registry import mask_model
from pipelines.train_masks import held_loss
from tests.evaluation.hearts import hearts
from tests.models.conftest import DISTANCES, SETTINGS

MASKS = one_hot(torch.from_numpy(hearts(7, seed=0, size=16)))


@pytest.fixture
def watched():
    """A network, and the batch size and type of each of its passes."""
    torch.manual_seed(0)
    network, seen = mask_model(DISTANCES).eval(), []
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    network.unet.conv_in.register_forward_hook(lambda _, inputs, output: seen.append((len(output), output.dtype)))
    return network, seen


@torch.no_grad()
def test_validation_takes_as_many_masks_at_a_time_as_the_training_and_finds_the_same(watched):
    network, seen = watched
    losses, sizes = [], []
    for batch, micro_batch in ((7, None), (7, 3), (2, None)):
        seen.clear()
        losses.append(held_loss(network, MASKS, 1, TrainSettings(**SETTINGS | {"batch": batch, "micro_batch": micro_batch})))
        sizes.append([size for size, _ in seen])
    assert sizes == [[7], [3, 3, 1], [2, 2, 2, 1]]
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-4)


@torch.no_grad()
def test_validation_has_the_precision_of_the_training(watched):
    network, seen = watched
    settings = TrainSettings(**SETTINGS)
    whole, half = (held_loss(network, MASKS, 1, replace(settings, precision=kind)) for kind in ("float32", "bf16"))
    assert {kind for _, kind in seen} == {torch.float32, torch.bfloat16}
    assert half == pytest.approx(whole, rel=0.05)
    assert half != whole
