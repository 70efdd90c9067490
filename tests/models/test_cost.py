"""Parameters, multiplications and memory, against what can be counted by hand and what real tensors take."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.cost import measure, shapes_only
from models.one_hot import MaskDDPM


class Two(nn.Module):
    """A frozen part, called through a method of its own, before one that learns; and one without weights."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 2, 1)).requires_grad_(False)
        self.head = nn.Conv2d(2, 5, 3, padding=1, bias=False)
        self.idle = nn.ReLU()

    def step(self, x):
        for layer in self.encoder:
            x = layer(x)
        return self.idle(self.head(x))


def test_a_linear_layer():
    with shapes_only():
        layer, x = nn.Linear(8, 4), torch.zeros(3, 8)
        cost = measure(layer, lambda: layer(x))
    assert (cost.kind, cost.parameters, cost.macs, cost.checkpoint) == ("Linear", 36, 3 * 8 * 4, 36 * 4)
    assert cost.activations == 3 * 8 * 4  # its input, for the gradient of its weights
    assert cost.parts == {}


def test_parts_add_up_and_a_frozen_one_keeps_nothing():
    with shapes_only():
        network, x = Two(), torch.zeros(1, 1, 16, 16)
        cost = measure(network, lambda: network.step(x))
    encoder, head = cost.parts["encoder"], cost.parts["head"]
    assert set(cost.parts) == {"encoder", "head"}
    assert (encoder.macs, head.macs) == (256 * (9 * 3 + 3 * 2), 256 * 9 * 2 * 5)
    assert cost.macs == encoder.macs + head.macs
    assert (encoder.parameters, head.parameters, cost.parameters) == (38, 90, 128)
    assert encoder.activations == 0
    assert head.activations == 256 * 2 * 4
    assert cost.activations == head.activations + 256 * 5 * 4  # and the ReLU's outcome
    assert cost.checkpoint == 128 * 4


def test_a_tensor_that_is_kept_twice_counts_once():
    with shapes_only():
        layers, x = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)]), torch.zeros(1, 8)
        cost = measure(layers, lambda: [layer(x) for layer in layers])
    assert cost.activations == 8 * 4


def test_a_half_precision_network_keeps_half():
    with shapes_only():
        layer, x = nn.Linear(8, 4, dtype=torch.bfloat16), torch.zeros(1, 8, dtype=torch.bfloat16)
        cost = measure(layer, lambda: layer(x))
    assert (cost.activations, cost.checkpoint) == (16, 72)


@pytest.mark.parametrize("fake", [True, False])
def test_attention(fake):
    """Scores and mixture, each tokens² · width; and no matrix of scores is kept by a fused kernel."""
    query = torch.nn.Parameter(torch.zeros(1, 2, 16, 8))
    layer = nn.Module()
    if fake:
        with shapes_only():
            query = torch.zeros(1, 2, 16, 8, requires_grad=True)
            cost = measure(layer, lambda: F.scaled_dot_product_attention(query, query, query))
    else:
        cost = measure(layer, lambda: F.scaled_dot_product_attention(query, query, query))
    assert cost.macs == 2 * (2 * 16 * 16 * 8)
    assert cost.activations < 4 * (2 * 16 * 16 + 3 * 2 * 16 * 8)


def test_shapes_alone_cost_what_real_tensors_cost(mask_network):
    def cost():
        network, masks = MaskDDPM(mask_network), torch.zeros(1, 4, 16, 16)
        return measure(network, lambda: network.denoising_error(masks, torch.zeros(1, dtype=torch.long), masks))

    real = cost()
    with shapes_only():
        assert cost() == real
    assert real.macs > 0
    assert real.activations > 0


def test_nothing_is_left_on_the_network():
    network, x = Two(), torch.zeros(1, 1, 4, 4)
    measure(network, lambda: network.step(x))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
