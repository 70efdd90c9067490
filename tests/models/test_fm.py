"""Flow matching: its path and solvers in closed form, its ControlNet, its loss and its samples."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from models.data import one_hot, step_randoms
from models.diffusion import draw_times_and_noise, noise_levels
from models.fm import TOLERANCE, FlowMatching, FlowNetwork, integrate, path, renoise
from tests.models.conftest import ancestral_moments

PAPER = FlowNetwork((32, 64, 128, 256), 2, (False, False, False, True), 6, 256, 32, 16, 1000)
TINY = FlowNetwork((8, 16), 1, (False, True), 1, 16, 4, 8, 1000)
MEAN, DEVIATION = 0.3, 0.5
PASSES = {"euler": 1, "midpoint": 2, "heun": 2}


def _slices(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(count, 1, 16, 16, generator=rng) * 2 - 1, one_hot(torch.randint(0, 4, (count, 16, 16), generator=rng))


@pytest.fixture
def network() -> FlowMatching:
    torch.manual_seed(0)
    return FlowMatching(TINY)


@pytest.fixture
def awake(network) -> FlowMatching:
    """As after some training: nothing is zero any more, so that image, mask and, a little, time have a say."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not parameter.any():
                parameter.normal_(0, 0.01 if "conv2" in name else 0.1)
    return network


# ---- The network


def test_the_papers_network_has_its_size_levels_and_attention():
    with torch.device("meta"):
        network = FlowMatching(PAPER)
    assert sum(p.numel() for p in network.unet.parameters()) == 63_086_209  # 63.09 M
    assert sum(p.numel() for p in network.controlnet.parameters()) == 30_122_192  # 30.1 M
    for part in (network.unet, network.controlnet):
        assert [block.resnets[-1].out_channels for block in part.down_blocks] == [32, 64, 128, 256]
        assert [len(block.resnets) for block in part.down_blocks] == [2, 2, 2, 2]
        assert [hasattr(block, "attentions") for block in part.down_blocks] == [False, False, False, True]
        assert all(block.downsampler.down for block in part.down_blocks[:-1])  # a residual block that halves
        transformer = part.down_blocks[-1].attentions[0]
        assert len(transformer.transformer_blocks) == 6
        assert transformer.transformer_blocks[0].attn1.num_heads == 1  # as wide as the level
        assert transformer.transformer_blocks[0].attn2.to_k.in_features == 256
    assert [hasattr(block, "attentions") for block in network.unet.up_blocks] == [True, False, False, False]
    assert all(block.upsampler.up for block in network.unet.up_blocks[:-1])
    assert network.controlnet.controlnet_cond_embedding.conv_in.conv.in_channels == 4
    assert network.timesteps == 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": (True,)}, r"2 widths but 1 attention"),
        ({"cross_attention": 8}, r"cross_attention must be 16"),
        ({"attention": (True, True)}, r"attention at widths \[8, 16\]"),
    ],
)
def test_settings_that_fit_no_network_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)


def test_the_controlnet_starts_as_the_unets_encoder_and_without_a_say(network):
    unet, controlnet = network.unet.state_dict(), network.controlnet.state_dict()
    shared = unet.keys() & controlnet.keys()
    assert all(torch.equal(unet[name], controlnet[name]) for name in shared)
    own = {name.split(".")[0] for name in controlnet.keys() - shared}
    assert own == {"controlnet_cond_embedding", "controlnet_down_blocks", "controlnet_mid_block"}

    # A fresh UNet says zero whatever it is told: only with a last convolution that speaks does the comparison mean something.
    images, masks = _slices()
    t = torch.tensor([0, 300, 600, 999])
    torch.nn.init.normal_(network.unet.out[-1].conv.weight)
    alone = network.unet(images, t)
    assert alone.abs().mean() > 0.1
    assert torch.equal(network.denoising_error(images, masks, t, images)[0], alone)  # noise = image: the path stands still
    torch.nn.init.normal_(network.controlnet.controlnet_mid_block.conv.weight)
    assert not torch.allclose(network.denoising_error(images, masks, t, images)[0], alone, atol=1e-2)


def test_every_weight_learns_once_the_zeros_before_it_have(network):
    """Zeros open from the output inwards: UNet's last, ControlNet's residuals, the mask's embedding, and what it embeds."""
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    learning = []
    for step in range(4):
        optimiser.zero_grad()
        network.loss(*_slices(), step_randoms(0, step, 4)).backward()
        learning.append({name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()})
        optimiser.step()
    stages = ["unet.out", "controlnet.controlnet_mid", "controlnet.controlnet_cond_embedding.conv_out", "conv_in.conv.weight"]
    assert all(name.startswith("unet.out") for name in learning[0])
    for step, stage in enumerate(stages):
        assert any(stage in name for name in learning[step])
    assert not any("cond_embedding" in name for name in learning[1])
    assert not any("cond_embedding.conv_in" in name for name in learning[2])
    assert learning[3] == {name for name, _ in network.named_parameters()}


# ---- The path


def test_the_path_is_straight_from_noise_to_image():
    images, noise = torch.rand(3, 1, 8, 8), torch.randn(3, 1, 8, 8)
    start, target = path(images, noise, torch.zeros(3))
    assert torch.equal(start, noise)
    assert torch.allclose(path(images, noise, torch.ones(3))[0], images)
    assert torch.equal(target, images - noise)
    early, late = (path(images, noise, torch.full((3,), time))[0] for time in (0.2, 0.7))
    assert torch.allclose(late - early, 0.5 * target, atol=1e-6)


def test_velocity_noise_and_image_tell_the_same():
    """From x_t and the velocity follow noise and image, and from x_t and the noise the velocity."""
    images, noise, time = torch.rand(3, 1, 8, 8), torch.randn(3, 1, 8, 8), torch.tensor([0.1, 0.5, 0.9])
    x, velocity = path(images, noise, time)
    t = time.view(-1, 1, 1, 1)
    assert torch.allclose(x - t * velocity, noise, atol=1e-6)
    assert torch.allclose(x + (1 - t) * velocity, images, atol=1e-6)
    assert torch.allclose((x - noise) / t, velocity, atol=1e-5)


def test_integer_times_run_from_the_image_to_noise(network, monkeypatch):
    images, masks = _slices()
    noise, t = torch.randn(images.shape), torch.tensor([0, 250, 750, 999])
    told = []
    monkeypatch.setattr(network, "_predict", lambda x, t, _: (told.append((x, t)) or x, None))
    _, target = network.denoising_error(images, masks, t, noise)
    kept = torch.tensor([0.999, 0.749, 0.249, 0.0]).view(-1, 1, 1, 1)
    assert torch.allclose(told[0][0], kept * images + (1 - kept) * noise, atol=1e-5)
    assert torch.equal(told[0][1], t)
    assert torch.equal(target, images - noise)
    every = torch.arange(1000)
    assert torch.equal(network._nearest(1 - (every + 1) / 1000), every)
    assert network._nearest(torch.tensor([0.0, 0.9994, 1.0])).tolist() == [999, 0, 0]


def test_the_loss_is_the_mean_squared_error_of_the_velocity_however_the_batch_is_cut(awake):
    images, masks = _slices()
    t, noise = draw_times_and_noise((1, 16, 16), 1000, step_randoms(0, 0, 4), images.device)
    prediction, target = awake.denoising_error(images, masks, t, noise)
    loss = awake.loss(images, masks, step_randoms(0, 0, 4))
    assert loss.item() == pytest.approx(F.mse_loss(prediction, images - noise).item(), rel=1e-5)
    assert torch.equal(target, images - noise)
    randoms = step_randoms(0, 0, 4)
    halves = [awake.loss(images[half], masks[half], randoms[half]) for half in (slice(0, 2), slice(2, 4))]
    assert loss.item() == pytest.approx(sum(halves).item() / 2, rel=1e-5)


# ---- The solvers


def _ideal(x, t):
    """E[image - noise | x_t]: the velocity that carries N(0, 1) to N(MEAN, DEVIATION²)."""
    variance = (1 - t) ** 2 + t**2 * DEVIATION**2
    return MEAN + (t * DEVIATION**2 - (1 - t)) / variance * (x - t * MEAN)


def _flow(noise, t):
    """Where it has carried the noise at time t."""
    return t * MEAN + ((1 - t) ** 2 + (t * DEVIATION) ** 2) ** 0.5 * noise


def _noise(seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 1, 48, 48, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _turning(x, t):
    """To the same Gaussian on a quarter circle; on the straight path midpoint happens to be of third order."""
    sin, cos = torch.sin(t * math.pi / 2), torch.cos(t * math.pi / 2)
    rate = (DEVIATION**2 - 1) * sin * cos / (cos**2 + (DEVIATION * sin) ** 2)
    return math.pi / 2 * (MEAN * cos + rate * (x - MEAN * sin))


def _error(velocity, sampler: str, steps: int) -> float:
    noise = _noise()
    error = integrate(velocity, noise, sampler=sampler, steps=steps) - (MEAN + DEVIATION * noise)
    return error.square().mean().sqrt().item()


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_halving_the_step_divides_the_error_by_two_to_the_order(sampler, order):
    errors = [_error(_turning, sampler, steps) for steps in (32, 64, 128)]
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2**order, rel=0.05)


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_the_adaptive_solver_keeps_to_its_tolerance_whatever_its_first_step(steps):
    assert TOLERANCE / 1000 < _error(_ideal, "dopri5", steps) < 5 * TOLERANCE  # and spends no passes on far more


@pytest.mark.parametrize(("sampler", "steps"), [("euler", 100), ("midpoint", 20), ("heun", 20), ("dopri5", 10)])
def test_solvers_take_noise_to_a_gaussian_whose_velocity_is_known(sampler, steps):
    drawn = torch.cat([integrate(_ideal, _noise(seed), sampler=sampler, steps=steps) for seed in range(4)])
    assert drawn.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert drawn.std().item() == pytest.approx(DEVIATION, rel=0.03)


def _renoised(steps, watch=None):
    """Four pictures drawn by the ancestral sampler."""
    noise, randoms = torch.cat([_noise(seed) for seed in range(4)]), [torch.Generator().manual_seed(s + 20) for s in range(4)]
    return renoise(_ideal, noise, randoms, steps=steps, watch=watch)


def test_the_ancestral_sampler_takes_noise_to_a_gaussian_whose_velocity_is_known():
    drawn = _renoised(steps=400)
    assert drawn.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert drawn.std().item() == pytest.approx(DEVIATION, rel=0.04)
    pixels = (drawn - drawn.mean()).flatten(1)
    alike = (pixels[:1] * pixels[1:]).mean(dim=1) / pixels.square().mean()
    assert alike.abs().max() < 0.1  # each image has noise of its own


def test_few_ancestral_steps_pass_by_the_states_of_the_closed_form():
    seen: list[tuple[float, torch.Tensor]] = []
    drawn = _renoised(10, lambda share, state: seen.append((share, state())))
    levels = noise_levels(10).tolist()
    assert [share for share, _ in seen] == pytest.approx([*(1 / (1 + level) for level in levels), 1])
    assert torch.equal(seen[-1][1], drawn)
    expected = ancestral_moments(levels, (0.0, levels[0]), MEAN, DEVIATION)
    for (share, state), (mean, deviation) in zip(seen, expected, strict=True):
        assert state.mean().item() == pytest.approx(share * mean, abs=0.03)
        assert state.std().item() == pytest.approx(share * deviation, rel=0.03)
    assert expected[-1][0] == pytest.approx(MEAN, abs=0.02)
    assert 0.6 < expected[-1][1] / DEVIATION < 0.75  # what 10 steps of the first order draw of the spread


@pytest.mark.parametrize("sampler", ["euler", "midpoint", "heun", "dopri5"])
def test_states_are_told_on_the_way_within_the_known_times(sampler):
    seen, asked = [], []

    def velocity(x, t):
        asked.append(t.item())
        return _ideal(x, t)

    noise = _noise()
    drawn = integrate(velocity, noise, sampler=sampler, steps=7, watch=lambda share, state: seen.append((share, state())))
    shares = [share for share, _ in seen]
    assert shares == sorted(set(shares))
    assert (shares[0], shares[-1]) == (0, 1)
    assert torch.equal(seen[0][1], noise)
    assert torch.equal(seen[-1][1], drawn)
    for share, state in seen:
        assert (state - _flow(noise, share)).abs().mean() < 0.2  # seven steps of Euler are coarse
    assert 0 <= min(asked) <= max(asked) <= 1
    if sampler in PASSES:
        assert (len(seen), len(asked)) == (8, 7 * PASSES[sampler])


# ---- Samples


@pytest.mark.parametrize("sampler", FlowMatching.samplers)
def test_an_image_is_in_range_and_depends_on_its_seed_and_mask_and_not_on_its_neighbours(sampler, awake):
    _, masks = _slices()
    awake.eval()
    whole = awake.sample(masks, [1, 2, 3, 4], sampler=sampler, steps=3)
    part = awake.sample(masks[1:3], [2, 3], sampler=sampler, steps=3)
    assert whole.shape == (4, 1, 16, 16)
    assert whole.abs().max() <= 1
    assert (whole[1:3] - part).abs().max() < 1e-3
    assert (awake.sample(masks[1:3], [7, 8], sampler=sampler, steps=3) - part).abs().mean() > 0.05
    assert (awake.sample(masks[:2], [2, 3], sampler=sampler, steps=3) - part).abs().mean() > 0.005


def test_guidance_moves_the_velocity_away_from_that_without_a_mask(awake):
    """One step of Euler shows the velocity itself: x_1 - x_0."""
    _, masks = _slices(1)

    def velocity(masks, guidance):
        states = []
        awake.eval().sample(
            masks, [5], sampler="euler", steps=1, guidance=guidance, watch=lambda _, state: states.append(state())
        )
        return states[1] - states[0]

    plain, without = velocity(masks, 1.0), velocity(torch.zeros_like(masks), 1.0)
    assert not torch.allclose(plain, without, atol=1e-3)
    assert torch.allclose(velocity(masks, 3.0), without + 3 * (plain - without), atol=1e-4)


def test_overfits_four_slices_and_follows_their_masks():
    """Four opposite slices, told apart by their masks alone, come back from noise to 0.22 of a range of 2 in 40 steps."""
    torch.manual_seed(0)
    network = FlowMatching(dataclasses.replace(TINY, norm_groups=8, mask_embedding=16))
    labels = torch.zeros(4, 16, 16, dtype=torch.long)
    labels[0, 4:12, 4:12], labels[1, 2:8, 6:14], labels[2, 8:14, 2:9], labels[3, 5:11, 8:15] = 1, 3, 2, 1
    masks, images = one_hot(labels), torch.where(labels > 0, 0.8, -0.8)[:, None].float()
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    for step in range(40):
        loss = network.loss(images.repeat(2, 1, 1, 1), masks.repeat(2, 1, 1, 1), step_randoms(0, step, 8))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    drawn = network.eval().sample(masks, [11, 12, 13, 14], sampler="midpoint", steps=5)
    assert (drawn - images).abs().mean() < 0.22
    assert (drawn - images.roll(1, 0)).abs().mean() > 0.4
