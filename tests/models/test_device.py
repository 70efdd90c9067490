"""Precision: exact float32, and mixed precision."""

import contextlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models.data import SliceBatches
from models.fm import FlowMatching, FlowNetwork
from models.one_hot import MaskDDPM
from models.segmenter import Segmenter, SegmenterNetwork, predict
from models.train import train


class _Casts(TorchDispatchMode):
    """Counts how often each parameter is cast to bfloat16."""

    def __init__(self, network):
        super().__init__()
        self.names = {parameter.data_ptr(): name for name, parameter in network.named_parameters()}
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        cast = func is torch.ops.aten._to_copy.default and kwargs.get("dtype") is torch.bfloat16
        if cast and (name := self.names.get(args[0].data_ptr())):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(params=["masks", "fm"])
def drawing(request, mask_network):
    """A network and a call that draws two of its samples in four network passes, mixed."""
    masks = request.param == "masks"
    network = MaskDDPM(mask_network) if masks else FlowMatching(FlowNetwork((8, 16), 1, (False, True), 1, 16, 4, 8, 1000))
    for parameter in network.eval().parameters():  # layers that begin at zero would hide what comes before them
        torch.nn.init.normal_(parameter, std=0.1)
    if masks:
        return network, lambda: network.sample(16, [1, 2], sampler="ddim", steps=4, precision="bf16")
    given = torch.eye(4)[torch.arange(2 * 16 * 16).view(2, 16, 16) % 4].movedim(-1, 1).contiguous()
    return network, lambda: network.sample(given, [1, 2], sampler="midpoint", steps=2, precision="bf16")


def test_a_drawing_casts_each_weight_once_and_draws_what_it_would_without_keeping_it(drawing, monkeypatch):
    network, draw = drawing
    with _Casts(network) as once:
        kept = draw()
    for module in ("models.diffusion", "models.fm"):
        monkeypatch.setattr(f"{module}.weights_cast_once", lambda device: contextlib.nullcontext())
    with _Casts(network) as often:
        assert torch.equal(draw(), kept)
    assert set(once.found.values()) == {1}
    assert once.found.keys() == often.found.keys()
    assert all(count >= 4 for count in often.found.values())


def test_weights_that_changed_are_cast_anew(drawing):
    network, draw = drawing
    before = draw()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    assert not torch.equal(draw(), before)


def test_a_validation_casts_each_weight_once_and_leaves_the_training_as_it_is(mask_network, train_settings, tmp_path):
    """The average of the weights is what is validated, here by two drawings of four passes."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 4, (8, 16, 16)).astype(np.uint8)
    batches, counts, ends = SliceBatches(None, masks, batch=4, augment=None, seed=0), [], []

    def validate(average):
        with _Casts(average) as seen:
            for _ in range(2):
                average.sample(16, [1, 2], sampler="ddim", steps=4, precision="bf16")
        counts.append(seen.found)
        return 1.0

    for score, ema in ((validate, 0.9), (None, 0.9), (validate, None)):
        torch.manual_seed(0)
        network = MaskDDPM(mask_network)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        settings, state = train_settings(precision="bf16", ema=ema), tmp_path / f"{len(ends)}.pt"
        train(network, lambda _, m, r, n=network: n.loss(m, r), batches, settings, seed=0, state=state, validate=score)
        ends.append(network.state_dict())
    assert len(counts) == 4
    assert all(seen and set(seen.values()) == {1} for seen in counts)
    assert all(torch.equal(ends[0][name], other[name]) for other in ends[1:] for name in other)


def test_reading_images_casts_each_weight_of_the_segmenter_once():
    network = Segmenter(SegmenterNetwork((4, 8, 8)))
    images = np.random.default_rng(0).uniform(-1, 1, (6, 16, 16))
    with _Casts(network) as once:
        read = predict(network, images, batch=2, precision="bf16")
    assert set(once.found.values()) == {1}
    with _Casts(network.requires_grad_(False)) as often:
        assert np.array_equal(predict(network, images, batch=2, precision="bf16"), read)
    assert set(often.found.values()) == {3}


@pytest.mark.parametrize("module", ["models.checkpoint", "evaluation.networks.inception"])
def test_float32_is_exact_wherever_networks_run(module):
    """TF32 is off for the products and convolutions of a GPU, by the new switches and the old ones."""
    code = f"""
import {module}, torch, warnings
warnings.simplefilter("error")
backends = torch.backends
print(backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision, torch.get_float32_matmul_precision())
print(backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32)
with backends.cudnn.flags(enabled=True, allow_tf32=False):
    pass
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.split() == ["ieee", "ieee", "highest", "False", "False"]
