"""Latent diffusion: the paper's UNet, SPADE, the scale of its latents, a frozen autoencoder, its loss and its samples."""

import dataclasses

import pytest
import torch
from monai.networks.blocks import spade_norm
from monai.networks.nets.spade_diffusion_model_unet import SPADEDiffResBlock
from torch.nn import functional as F

from models import ldm
from models.checkpoint import load_network, save_network
from models.config import ScheduleSettings
from models.cost import shapes_only
from models.data import SliceBatches, one_hot
from models.diffusion import draw_times_and_noise
from models.ldm import LDM, LDMNetwork
from models.spade_unet import SPADE
from models.train import train
from models.vqvae import VQVAE, VQVAENetwork
from tests.models.conftest import randoms
from tests.models.test_vqvae import PAPER as PAPER_AUTOENCODER
from tests.models.test_vqvae import fit, hearts

AUTHORS = ScheduleSettings(1000, "scaled_linear", 0.00085, 0.012, "epsilon")
PAPER = LDMNetwork((128, 256, 512), 2, (False, True, True), 32, 32, 128, AUTHORS, PAPER_AUTOENCODER)
AUTOENCODER = VQVAENetwork((8, 16), (2, 1), 1, 4, 64, 0.25, 4)
TINY = LDMNetwork((16, 32), 1, (False, True), 16, 8, 8, AUTHORS, AUTOENCODER)


def _slices(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(count, 1, 16, 16, generator=rng) * 2 - 1, one_hot(torch.randint(0, 4, (count, 16, 16), generator=rng))


@pytest.fixture
def network() -> LDM:
    """With an autoencoder adopted, and as after some training: no weight is zero any more, so that the mask has its say."""
    torch.manual_seed(0)
    network = LDM(TINY)
    network.adopt(VQVAE(AUTOENCODER), _slices(16)[0])
    with torch.no_grad():
        for parameter in network.unet.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return network.eval()


# ---- The network


def test_the_papers_network_has_its_size_levels_and_attention():
    with shapes_only():
        network = LDM(PAPER)
        depth = []
        network.unet.middle_block.register_forward_hook(lambda *outcome: depth.append(tuple(outcome[-1].shape)))
        images, masks = torch.zeros(2, 1, 128, 128), torch.zeros(2, 4, 128, 128)
        noise = torch.zeros(2, *network.noise_shape(128))
        prediction, target = network.denoising_error(images, masks, torch.tensor([0, 999]), noise)
    assert prediction.shape == target.shape == (2, 4, 16, 16)
    assert depth == [(2, 512, 4, 4)]  # after two downsamplings
    assert sum(p.numel() for p in network.unet.parameters()) == 82_815_236
    assert sum(p.numel() for p in network.autoencoder.parameters()) == 7_663_045
    down, up = network.unet.down_blocks, network.unet.up_blocks
    assert [block.resnets[-1].out_channels for block in down] == [128, 256, 512]
    assert [len(block.resnets) for block in down] == [2, 2, 2]
    assert [hasattr(block, "attentions") for block in down] == [False, True, True]
    assert [hasattr(block, "attentions") for block in up] == [True, True, False]
    assert network.unet.conv_in.conv.in_channels == 4 + 4  # noisy latents and mask
    decoder = [module for module in up.modules() if isinstance(module, SPADEDiffResBlock)]
    assert len(decoder) == 9
    assert all(isinstance(norm, SPADE) for block in decoder for norm in (block.norm1, block.norm2))
    assert not [module for part in (down, network.unet.middle_block) for module in part.modules() if isinstance(module, SPADE)]


def test_the_schedule_is_the_authors_and_clips_nothing():
    """Linear in √β; and estimates of the clean latents are left alone, which lie beyond [-1, 1]."""
    schedule = LDM(TINY).schedule
    assert schedule.config.clip_sample is False
    assert torch.allclose(schedule.betas, torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)


def test_settings_that_fit_no_network_are_refused():
    with pytest.raises(ValueError, match=r"set ldm\.autoencoder\.network"):
        LDM(dataclasses.replace(TINY, autoencoder=None))
    with pytest.raises(ValueError, match=r"2 widths but 1 attention"):
        dataclasses.replace(TINY, attention=(True,))
    with pytest.raises(ValueError, match=r"slices\.size is 18: it must be a multiple of 4"):
        LDM(TINY).noise_shape(18)


# ---- The mask


@pytest.mark.parametrize("shares", [(0.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.1, 0.2, 0.3, 0.4)])
def test_a_constant_mask_gives_a_constant_scale_and_shift(shares):
    """Up to the border, and whether it is of one class, of several, or of none."""
    torch.manual_seed(0)
    layer = SPADE(8, 4, 4, 6)
    x, mask = torch.randn(2, 8, 5, 5), torch.tensor(shares).view(1, 4, 1, 1)
    scale, shift = layer.read(mask).chunk(2, dim=1)
    assert torch.allclose(layer(x, mask.expand(2, 4, 20, 20)), F.group_norm(x, 4) * (1 + scale) + shift, atol=1e-5)


def test_monais_own_layer_makes_noise_of_it():
    """The reason for a layer of our own; where this fails, MONAI has been mended and ours may go."""
    torch.manual_seed(0)
    layer = spade_norm.SPADE(4, 8, norm="GROUP", norm_params={"num_groups": 4})
    scale = layer.mlp_gamma(layer.mlp_shared(torch.zeros(1, 4, 8, 8)))
    assert scale.std(dim=(2, 3)).min() > 0.9


def test_scale_and_shift_follow_the_mask():
    torch.manual_seed(0)
    layer, x = SPADE(8, 4, 4, 6), torch.randn(1, 8, 6, 6)
    masks = [one_hot(torch.full((1, 6, 6), label)) for label in (0, 1)]
    mixed = torch.cat([masks[0][..., :3], masks[1][..., 3:]], dim=-1)
    outer = [layer(x, mask) for mask in masks]
    assert torch.allclose(layer(x, mixed)[..., 0], outer[0][..., 0], atol=1e-5)  # more than two cells from the other class
    assert torch.allclose(layer(x, mixed)[..., 5], outer[1][..., 5], atol=1e-5)
    assert not torch.allclose(*outer, atol=0.1)


def test_the_mask_is_averaged_over_each_cell(network):
    """A border through the middle of a cell of two pixels leaves half of it on either side."""
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[:, :, :5] = 1
    seen = []
    network.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    images, t, noise = torch.zeros(1, 1, 16, 16), torch.tensor([0]), torch.zeros(1, 4, 8, 8)
    network.denoising_error(images, one_hot(labels), t, noise)
    (x, _, masks) = seen[0]
    assert torch.equal(x[:, 4:], masks)
    assert torch.equal(masks[0, 1], torch.tensor([1, 1, 0.5, 0, 0, 0, 0, 0]).expand(8, 8))
    assert torch.equal(masks[0, 0], 1 - masks[0, 1])


# ---- The latents


def test_latents_have_zero_mean_and_unit_variance_once_adopted():
    torch.manual_seed(0)
    images, _ = _slices(100)
    autoencoder = VQVAE(AUTOENCODER)
    network = LDM(TINY)
    network.adopt(autoencoder, images)
    assert all(
        torch.equal(own, given) for own, given in zip(network.autoencoder.parameters(), autoencoder.parameters(), strict=True)
    )
    latents, raw = network.latents(images), autoencoder.encode(images)
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert (latents.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-4
    assert (raw.mean(dim=(0, 2, 3)).abs() + (raw.std(dim=(0, 2, 3)) - 1).abs()).min() > 0.05


def test_what_is_drawn_is_decoded_at_the_autoencoders_scale(network, monkeypatch):
    images, masks = _slices()
    monkeypatch.setattr(ldm, "denoise", lambda *_, **__: network.latents(images))
    drawn = network.sample(masks, [0] * 4, sampler="ddim", steps=1)
    assert torch.allclose(drawn, network.autoencoder.reconstruct(images), atol=1e-4)


def test_the_autoencoder_is_frozen(network, train_settings, tmp_path):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images, masks = _slices()
    batches = SliceBatches(images[:, 0].numpy(), masks.argmax(dim=1).numpy(), batch=2, augment=None, seed=0)
    settings = train_settings(epochs=2, warmup_steps=0, schedule="constant")
    trained = train(network, network.loss, batches, settings, seed=0, state=tmp_path / "s.pt")
    assert network.unet.training
    assert not any(module.training for module in network.autoencoder.modules())
    assert not any(parameter.requires_grad for parameter in network.autoencoder.parameters())
    for kept in (network.state_dict(), trained.weights):
        changed = {name.split(".")[0] for name in before if not torch.equal(before[name], kept[name])}
        assert changed == {"unet"}


# ---- The loss


def test_the_loss_is_the_mean_squared_error_of_the_noise_on_latents(network):
    images, masks = _slices()
    t, noise = draw_times_and_noise(network.noise_shape(16), 1000, randoms(4), images.device)
    prediction, target = network.denoising_error(images, masks, t, noise)
    assert torch.equal(target, noise)
    assert noise.shape == (4, 4, 8, 8)
    loss = network.loss(images, masks, randoms(4))
    assert loss.item() == pytest.approx(F.mse_loss(prediction, noise).item(), rel=1e-5)


def test_a_batch_loses_the_mean_of_its_halves(network):
    images, masks = _slices()
    whole = network.loss(images, masks, randoms(4))
    halves = [network.loss(images[part], masks[part], randoms(4)[part]) for part in (slice(2), slice(2, 4))]
    assert whole.item() == pytest.approx(sum(half.item() for half in halves) / 2, rel=1e-5)


# ---- Sampling


@pytest.mark.parametrize("sampler", LDM.samplers)
def test_sampling_is_seeded_in_range_and_independent_of_the_batch(network, sampler):
    _, masks = _slices(5)
    whole = network.sample(masks, [1, 2, 3, 4, 5], sampler=sampler, steps=5)
    part = network.sample(masks[2:4], [3, 4], sampler=sampler, steps=5)
    assert whole.shape == (5, 1, 16, 16)
    assert whole.abs().max() <= 1
    assert (whole[2:4] - part).abs().max() < 1e-3
    assert not torch.allclose(network.sample(masks[2:3], [9], sampler=sampler, steps=5), part[:1], atol=1e-2)


def test_half_precision_draws_images_too(network):
    _, masks = _slices(2)
    drawn = network.sample(masks, [1, 2], sampler="ddim", steps=3, precision="bf16")
    assert drawn.dtype == torch.float32
    assert drawn.abs().max() <= 1


def test_guidance_weighs_what_the_mask_adds(network):
    _, masks = _slices(2)

    def draw(given, guidance):
        return network.sample(given, [1, 2], sampler="ddim", steps=3, guidance=guidance)

    assert torch.allclose(draw(masks, 0.0), draw(torch.zeros_like(masks), 1.0), atol=1e-4)
    assert not torch.allclose(draw(masks, 3.0), draw(masks, 1.0), atol=1e-3)


def test_the_way_from_noise_is_told_in_images(network):
    _, masks = _slices(2)
    told = []
    drawn = network.sample(masks, [1, 2], sampler="ddim", steps=4, watch=lambda done, state: told.append((done, state())))
    assert [round(done, 2) for done, _ in told] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert all(state.shape == (2, 1, 16, 16) for _, state in told)
    assert torch.equal(told[-1][1], drawn)
    assert not torch.allclose(told[0][1], drawn, atol=0.1)


def test_a_checkpoint_is_complete_in_itself(network, tmp_path):
    _, masks = _slices(1)
    save_network(tmp_path, TINY, network.state_dict())
    loaded = load_network(tmp_path, LDM, torch.device("cpu"), TINY)
    pair = [net.sample(masks, [7], sampler="dpm++", steps=3) for net in (network, loaded)]
    assert torch.allclose(*pair, atol=1e-4)  # weights of a loaded network lie in another order


@pytest.mark.slow
def test_overfits_four_slices_and_follows_their_masks():
    """The autoencoder gives them back within 0.1; 200 steps later so do samples from noise, told apart by masks alone."""
    torch.manual_seed(0)
    autoencoder = VQVAE(dataclasses.replace(AUTOENCODER, widths=(16, 32)))
    images, masks = hearts()
    fit(autoencoder, images, masks, [], steps=150, rate=3e-3)
    schedule = dataclasses.replace(AUTHORS, prediction="v_prediction")
    network = LDM(dataclasses.replace(TINY, schedule=schedule, autoencoder=autoencoder.config, spade_channels=16))
    network.adopt(autoencoder, images)
    fit(network, images.repeat(2, 1, 1, 1), masks.repeat(2, 1, 1, 1), randoms(8), steps=200, rate=4e-3)
    drawn = network.eval().sample(masks, [11, 12, 13, 14], sampler="ddim", steps=20)
    assert (drawn - images).abs().mean() < 0.15
    assert (drawn - images.roll(1, 0)).abs().mean() > 0.3
