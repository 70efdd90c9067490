"""The DynUNet segmenter."""

import numpy as np
import pytest
import torch

from models.data import one_hot
from models.segmenter import Segmenter, SegmenterNetwork, predict


def test_the_papers_network_has_its_size():
    with torch.device("meta"):
        network = Segmenter(SegmenterNetwork((32, 64, 128, 256, 512)))
    assert sum(p.numel() for p in network.parameters()) == 7_756_196
    assert network.unet.filters == [32, 64, 128, 256, 512]


def test_loss_is_half_dice_and_half_cross_entropy():
    """A sure and right answer costs nothing; a sure and wrong one costs half of Dice's 1 and half of the margin."""
    network = Segmenter(SegmenterNetwork((4, 8, 8)))
    masks = one_hot(torch.arange(4).repeat(4).view(1, 4, 4))
    images = torch.zeros(1, 1, 4, 4)
    network.unet = torch.nn.Identity()
    network.unet.forward = lambda _: 20 * masks  # type: ignore[method-assign]
    assert network.loss(images, masks).item() == pytest.approx(0, abs=1e-3)
    network.unet.forward = lambda _: 20 * masks.roll(1, dims=1)  # type: ignore[method-assign]
    assert network.loss(images, masks).item() == pytest.approx(0.5 + 0.5 * 20, rel=1e-3)


def test_learns_to_read_brightness_and_the_batch_changes_nothing():
    torch.manual_seed(0)
    network = Segmenter(SegmenterNetwork((8, 16, 32)))
    labels = torch.zeros(8, 32, 32, dtype=torch.long)
    for row in range(8):
        labels[row, 4 + row : 14 + row, 6:16], labels[row, 18:26, 2 + row : 14 + row] = 1, 3
    images = labels[:, None] / 1.5 - 1
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(60):
        loss = network.loss(images, one_hot(labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    read = predict(network, images[:, 0].numpy(), batch=3, precision="float32")
    assert (read == labels.numpy()).mean() > 0.98
    assert np.array_equal(read, predict(network, images[:, 0].numpy(), batch=8, precision="float32"))


def test_each_weight_is_stored_once():
    """MONAI's DynUNet registers its levels twice."""
    network = Segmenter(SegmenterNetwork((4, 8, 8)))
    stored = sum(tensor.numel() for tensor in network.state_dict().values())
    assert stored == sum(parameter.numel() for parameter in network.parameters())
