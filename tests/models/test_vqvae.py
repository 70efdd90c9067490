"""The VQ-VAE: the paper's network, its three losses and their gradients, a codebook that is used, and what it gives back."""

import dataclasses

import pytest
import torch
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D, UpDecoderBlock2D
from torch import nn
from torch.nn import functional as F

from models.checkpoint import load_network, save_network
from models.cost import shapes_only
from models.data import one_hot
from models.vqvae import VQVAE, VQVAENetwork

PAPER = VQVAENetwork((64, 128, 256), (2, 2, 2), 2, 4, 8192, 0.25, 32)
TINY = VQVAENetwork((8, 16), (2, 1), 1, 4, 64, 0.25, 4)


def hearts() -> tuple[torch.Tensor, torch.Tensor]:
    """Four slices of 16 × 16 pixels under a slope of brightness, each with its heart in another corner, and their masks."""
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    labels = torch.zeros(4, 16, 16, dtype=torch.long)
    for label, row, column in zip(labels, (4, 4, 11, 11), (4, 11, 4, 11), strict=True):
        distance = ((y - row) ** 2 + (x - column) ** 2).sqrt()
        label[distance < 4.5] = 2
        label[distance < 2.5] = 1
        label[((y - row).abs() < 3) & ((x - column + 5).abs() < 2)] = 3
    slopes = torch.linspace(-0.3, 0.3, 16) * torch.tensor([1, -1, 0.5, -0.5]).view(4, 1, 1, 1)
    return torch.tensor([-0.6, 0.8, -0.1, 0.5])[labels][:, None] + slopes, one_hot(labels)


def fit(network: nn.Module, images: torch.Tensor, masks: torch.Tensor, randoms, steps: int, rate: float) -> None:
    """Adam, its rate falling evenly to zero."""
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimiser.zero_grad()
        network.loss(images, masks, randoms).backward()
        optimiser.step()


@pytest.fixture
def network() -> VQVAE:
    torch.manual_seed(0)
    return VQVAE(TINY)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


# ---- The network


def test_the_papers_network_has_its_size_levels_and_latents():
    with shapes_only():
        network = VQVAE(PAPER)
        latents = network.encode(torch.zeros(1, 1, 128, 128))
        assert latents.shape == (1, 4, 16, 16)
        assert network.decode(latents).shape == (1, 1, 128, 128)
    assert sum(p.numel() for p in network.parameters()) == 7_663_045
    assert network.quantiser.embedding.weight.shape == (8192, 4)
    down = [block for block in network.encoder if isinstance(block, DownEncoderBlock2D)]
    up = [block for block in network.decoder if isinstance(block, UpDecoderBlock2D)]
    assert [block.resnets[-1].out_channels for block in down] == [64, 128, 256]
    assert [block.resnets[-1].out_channels for block in up] == [256, 128, 64]
    assert [len(block.resnets) for block in down + up] == [2] * 6
    assert [block.downsamplers[0].conv.stride for block in down] == [(2, 2)] * 3
    kinds = {type(module) for module in network.modules()}
    assert {nn.GroupNorm, nn.SiLU} <= kinds
    assert not kinds & {nn.BatchNorm2d, nn.InstanceNorm2d, nn.ReLU}


@pytest.mark.parametrize(("strides", "factor"), [((2, 2, 1), 4), ((1, 2, 2), 4), ((2, 2, 2), 8)])
def test_a_level_may_keep_the_resolution(strides, factor):
    config = VQVAENetwork((8, 8, 16), strides, 1, 4, 16, 0.25, 4)
    with shapes_only():
        latents = VQVAE(config).encode(torch.zeros(1, 1, 64, 64))
    assert config.factor == factor
    assert latents.shape == (1, 4, 64 // factor, 64 // factor)


@pytest.mark.parametrize("strides", [(2,), (2, 3), (2, 2, 1)])
def test_strides_must_fit_the_levels(strides):
    with pytest.raises(ValueError, match=r"strides must be 1 or 2 for each of the 2 widths, found \["):
        dataclasses.replace(TINY, strides=strides)


def test_it_comes_back_from_its_checkpoint(network, images, tmp_path):
    save_network(tmp_path, TINY, network.state_dict())
    loaded = load_network(tmp_path, VQVAE, torch.device("cpu"), TINY)
    with torch.no_grad():
        # Weights of a loaded network lie in another order, and sums with them.
        assert torch.allclose(loaded.reconstruct(images), network.reconstruct(images), atol=1e-4)


# ---- The losses


def _by_hand(network: VQVAE, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, the entries nearest to them (both (B, C, h, w), without gradients), and the entries' numbers (B, h, w)."""
    with torch.no_grad():
        latents, entries = network.encode(images), network.quantiser.embedding.weight
        distances = (latents[:, None] - entries[None, :, :, None, None]).square().sum(dim=2)
        codes = distances.argmin(dim=1)
    return latents, entries[codes].movedim(-1, 1).detach(), codes


def test_decoding_takes_the_nearest_entries(network, images):
    latents, entries, codes = _by_hand(network, images)
    assert torch.equal(network.codes(images), codes)
    assert len(codes.unique()) > 10
    with torch.no_grad():
        assert torch.allclose(network.decode(latents), network.decode(entries), atol=1e-5)
        assert torch.allclose(network.decode(latents), network.decoder(entries).clamp(-1, 1), atol=1e-5)
        assert torch.equal(network.decode(latents), network.reconstruct(images))


def test_the_loss_is_reconstruction_codebook_and_commitment(network, images):
    latents, entries, _ = _by_hand(network, images)
    with torch.no_grad():
        reconstruction = (network.decoder(entries) - images).abs().mean()
    expected = reconstruction + (1 + TINY.commitment) * (latents - entries).square().mean()
    assert network.loss(images, images, []).item() == pytest.approx(expected.item(), rel=1e-5)


def test_gradients_pass_straight_through_and_pull_latents_and_entries_together(network, images, monkeypatch):
    """dL/dz = dL/d(entry) + 2β(z - e)/n, as if the quantiser were not there; dL/de = 2Σ(e - z)/n over its latents."""
    latents, entries, codes = _by_hand(network, images)
    entries.requires_grad_()
    F.l1_loss(network.decoder(entries), images).backward()
    to_encoder = entries.grad + 2 * TINY.commitment * (latents - entries) / latents.numel()
    pulls = (2 * (entries - latents) / latents.numel()).detach().movedim(1, -1).flatten(0, -2)
    to_codebook = torch.zeros(TINY.codebook, 4).index_add(0, codes.flatten(), pulls)

    network.zero_grad()
    latents.requires_grad_()
    monkeypatch.setattr(network, "encode", lambda _: latents)
    network.loss(images, images, []).backward()
    assert torch.allclose(latents.grad, to_encoder, atol=1e-7)
    assert latents.grad.abs().max() > 1e-4
    assert torch.allclose(network.quantiser.embedding.weight.grad, to_codebook, atol=1e-7)
    assert to_codebook.abs().max() > 1e-4


def test_a_batch_loses_the_mean_of_its_halves(network, images):
    whole = network.loss(images, images, [])
    halves = [network.loss(half, half, []) for half in images.split(2)]
    assert whole.item() == pytest.approx(sum(half.item() for half in halves) / 2, rel=1e-5)


def test_half_precision_chooses_the_same_entries(network, images):
    latents, _, codes = _by_hand(network, images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network._quantise(latents)[2], codes)


# ---- The codebook


def test_usage_counts_entries_and_how_evenly(network):
    assert network.usage(torch.full((2, 8, 8), 3)) == (1 / 64, pytest.approx(1))
    assert network.usage(torch.arange(64).view(1, 8, 8)) == (1, pytest.approx(64))
    share, perplexity = network.usage(torch.tensor([[[0, 0], [0, 5]]]))
    assert share == 2 / 64
    assert perplexity == pytest.approx((3 / 4) ** -(3 / 4) * (1 / 4) ** -(1 / 4))


def test_latents_start_as_wide_as_the_codebook(images):
    torch.manual_seed(0)
    with torch.no_grad():
        latents = VQVAE(VQVAENetwork((64, 128), (2, 2), 1, 4, 64, 0.25, 32)).encode(images)
    assert latents.std().item() == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(("start", "least", "most"), [("as built", 0.4, 1.0), ("about zero", 0.0, 0.1)])
def test_the_codebook_is_used_after_a_training_and_collapses_from_the_usual_start(start, least, most):
    torch.manual_seed(0)
    network = VQVAE(dataclasses.replace(TINY, codebook=256))
    if start == "about zero":
        nn.init.uniform_(network.quantiser.embedding.weight, -1 / 256, 1 / 256)
    varied = F.interpolate(torch.rand(24, 1, 5, 5) * 2 - 1, (16, 16), mode="bicubic").clamp(-1, 1)
    fit(network, varied, varied, [], steps=40, rate=3e-3)
    with torch.no_grad():
        share, perplexity = network.usage(network.codes(varied))
    assert least <= share <= most
    assert least <= perplexity / 256 <= most


# ---- Training


def test_overfits_four_slices():
    """A mean error of 0.1, a twentieth of the range, after 150 steps; without training it is above 0.4."""
    torch.manual_seed(0)
    network = VQVAE(dataclasses.replace(TINY, widths=(16, 32)))
    images, masks = hearts()

    def error() -> float:
        with torch.no_grad():
            drawn = network.reconstruct(images)
        assert drawn.abs().max() <= 1
        return (drawn - images).abs().mean().item()

    assert error() > 0.4
    fit(network, images, masks, [], steps=150, rate=3e-3)
    assert error() < 0.1
