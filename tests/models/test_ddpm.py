"""The pixel DDPM: the paper's network, its loss, its conditioning."""

import pytest
import torch
from torch.nn import functional as F

from models.data import one_hot
from models.ddpm import DDPM, DDPMNetwork
from models.diffusion import draw_times_and_noise
from tests.models.conftest import LINEAR, randoms

PAPER = DDPMNetwork((128, 128, 256, 256, 512, 512), 2, (False, False, False, False, True, False), 8, 32, LINEAR)


def test_the_papers_network_has_its_size_levels_and_attention():
    with torch.device("meta"):
        network = DDPM(PAPER)
    assert sum(p.numel() for p in network.parameters()) == 113_673_217
    assert network.unet.conv_in.in_channels == 5
    has_attention = [hasattr(block, "attentions") for block in network.unet.down_blocks]
    assert has_attention == [False, False, False, False, True, False]
    assert [hasattr(block, "attentions") for block in network.unet.up_blocks] == has_attention[::-1]
    assert isinstance(network.unet.conv_act, torch.nn.SiLU)


def test_attention_flags_must_fit_the_levels(ddpm_network):
    with pytest.raises(ValueError, match=r"2 widths but 1 attention"):
        DDPM(DDPMNetwork(ddpm_network.widths, 1, (True,), 8, 4, LINEAR))


def test_loss_is_the_mean_squared_error_of_the_noise(ddpm_network):
    network = DDPM(ddpm_network)
    images, masks = torch.rand(4, 1, 16, 16) * 2 - 1, one_hot(torch.randint(0, 4, (4, 16, 16)))
    t, noise = draw_times_and_noise((1, 16, 16), 1000, randoms(4), images.device)
    prediction, target = network.denoising_error(images, masks, t, noise)
    loss = network.loss(images, masks, randoms(4))
    assert torch.equal(target, noise)
    assert loss.item() == pytest.approx(F.mse_loss(prediction, noise).item(), rel=1e-5)


def test_sampling_is_seeded_in_range_and_independent_of_the_batch(ddpm_network):
    torch.manual_seed(0)
    network = DDPM(ddpm_network).eval()
    masks = one_hot(torch.randint(0, 4, (5, 16, 16)))
    whole = network.sample(masks, [1, 2, 3, 4, 5], sampler="dpm++", steps=5)
    part = network.sample(masks[2:4], [3, 4], sampler="dpm++", steps=5)
    assert whole.shape == (5, 1, 16, 16)
    assert whole.abs().max() <= 1
    assert (whole[2:4] - part).abs().max() < 1e-3


def test_overfits_two_slices_and_follows_their_masks():
    """Two opposite slices, told apart by their masks alone, come back from noise."""
    torch.manual_seed(0)
    network = DDPM(DDPMNetwork((16, 32), 1, (False, False), 8, 8, LINEAR))
    labels = torch.zeros(2, 16, 16, dtype=torch.long)
    labels[0, 4:12, 4:12], labels[1, 2:8, 6:14] = 1, 3
    masks = one_hot(labels)
    images = torch.where(labels > 0, 0.8, -0.8)[:, None].float()
    optimiser, sources = torch.optim.Adam(network.parameters(), 2e-3), randoms(16)
    for _ in range(300):
        loss = network.loss(images.repeat(8, 1, 1, 1), masks.repeat(8, 1, 1, 1), sources)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    drawn = network.eval().sample(masks, [11, 12], sampler="ddim", steps=25)
    assert (drawn - images).abs().mean() < 0.2
    assert (drawn - images.flip(0)).abs().mean() > 0.3


def test_guidance_weighs_what_the_mask_adds(ddpm_network):
    """At scale 0 the mask counts for nothing; scale 1 is the plain network; both in between and beyond differ."""
    torch.manual_seed(0)
    network = DDPM(ddpm_network).eval()
    masks = one_hot(torch.randint(0, 4, (2, 16, 16)))

    def draw(given, guidance):
        return network.sample(given, [1, 2], sampler="ddim", steps=3, guidance=guidance)

    assert torch.allclose(draw(masks, 0.0), draw(torch.zeros_like(masks), 1.0), atol=1e-5)
    assert not torch.allclose(draw(masks, 3.0), draw(masks, 1.0), atol=1e-4)


def test_the_way_from_noise_is_told_from_beginning_to_end(ddpm_network):
    network = DDPM(ddpm_network).eval()
    masks, told = one_hot(torch.randint(0, 4, (2, 16, 16))), []
    drawn = network.sample(masks, [1, 2], sampler="ddim", steps=4, watch=lambda done, state: told.append((done, state())))
    assert [round(done, 2) for done, _ in told] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert torch.allclose(told[-1][1].clamp(-1, 1), drawn)
    assert told[0][1].std().item() == pytest.approx(1, abs=0.15)
