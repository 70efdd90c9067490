from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from cmr.errors import DataError
from evaluation.privacy.membership.attack import untrained_scores
from evaluation.privacy.membership.signals import NO_ERROR, band_errors, proximal_noise, read_signals
from models.data import one_hot, step_randoms
from models.ddpm import DDPM, DDPMNetwork
from models.diffusion import draw_times_and_noise
from tests.evaluation.hearts import hearts
from tests.evaluation.privacy.membership.networks import KINDS, MASK_KINDS, Oracle, Told, tiny
from tests.models.conftest import LINEAR

MASKS = hearts(6, seed=0, size=16)
IMAGES = np.random.default_rng(0).uniform(-1, 1, MASKS.shape).astype(np.float16)
TIMES = (0.3, 0.6)
NAMES = ("naive", "frequency", "coarse", "dissimilarity", "pia")


def read(network, images=IMAGES, masks=MASKS, **changes):
    settings = {"times": TIMES, "noises": 2, "seed": 0, "batch": 4, "precision": "float32", **changes}
    return read_signals(network, images, masks, **settings)


def given(kind):
    return None if kind in MASK_KINDS else IMAGES


# ---- Every kind of network


@pytest.mark.parametrize("kind", KINDS)
def test_neither_batch_nor_order_nor_the_other_slices_matter(kind):
    network, images = tiny(kind), given(kind)
    whole = read(network, images)
    order = np.array([5, 1, 3])
    part = read(network, None if images is None else images[order], MASKS[order], batch=2)
    assert whole.steps == part.steps == (300, 599)
    for name in NAMES:
        values = getattr(whole, name)
        assert values.shape == (6, 1 if name == "pia" else 2)
        assert np.isfinite(values).all()
        assert (values < 0 if name == "coarse" else values > 0).all()
        assert getattr(part, name) == pytest.approx(values[order], rel=1e-3, abs=1e-5)
    assert len(fields(whole)) == 1 + len(NAMES)


@pytest.mark.parametrize("kind", KINDS)
def test_the_naive_signal_is_the_training_loss_at_its_time(kind):
    """Over many noises, both estimate the same mean."""
    network = tiny(kind).eval()
    found = read(network, given(kind), noises=20, times=(0.3,)).naive[:, 0].mean()
    masks, images = one_hot(torch.from_numpy(MASKS)), torch.from_numpy(IMAGES).float()[:, None]
    shape = network.noise_shape(16)
    losses = []
    with torch.no_grad():
        for seed in range(20):
            _, noise = draw_times_and_noise(shape, 1000, step_randoms(seed, 0, 6), torch.device("cpu"))
            slices = (masks,) if kind in MASK_KINDS else (images, masks)
            losses.append(F.mse_loss(*network.denoising_error(*slices, torch.full((6,), 300), noise)).item())
    assert found == pytest.approx(np.mean(losses), rel=0.07)


def test_another_seed_draws_other_noises():
    network = tiny("ddpm")
    one, same, other = (read(network, seed=seed).naive for seed in (0, 0, 1))
    assert (one == same).all()
    assert not np.allclose(one, other, rtol=1e-3)


def test_each_slice_costs_its_passes_at_the_times_asked_for():
    network = Told("epsilon", lambda x, t: x)
    read(network, noises=3, times=(0, 0.5, 1))
    steps, counts = np.unique(network.asked, return_counts=True)
    assert steps.tolist() == [0, 200, 500, 999]
    assert counts.tolist() == [
        6 * (3 + 1) + 2,
        6,
        6 * 3,
        6 * 3,
    ]  # PIA asks once at 0 and at 200; one slice tells its target twice


# ---- The authors' signal


def test_the_frequency_band():
    waves = [np.cos(2 * np.pi * k * np.arange(32) / 32) for k in (1, 8, 15)]  # of the highest frequency 16
    errors, low = band_errors(torch.tensor(np.array(waves))[:, None, None].expand(3, 1, 32, 32).float())
    assert errors.tolist() == pytest.approx([0, 0.5, 0], abs=1e-6)
    assert low.tolist() == pytest.approx([0.5, 0, 0], abs=1e-6)


def test_the_share_of_coarse_errors_does_not_depend_on_how_large_they_are():
    """The oracle's error is of the middle frequencies alone, and 4 times larger on every other slice."""
    images = IMAGES.copy()
    images[:, 0, 0] = [1, -1, 1, -1, 1, -1]
    assert read(Oracle(right=0.1, wrong=0.4), images).coarse == pytest.approx(np.log(NO_ERROR / 0.01), abs=4)
    blunt = Oracle(right=0.1, wrong=0.4)
    blunt.chequered = lambda width: torch.ones(width)
    assert read(blunt, images).coarse == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("size", [16, 33])
def test_the_band_filters_as_the_authors_do_in_the_picture(size):
    residual = np.random.default_rng(0).normal(size=(3, 2, size, size))
    frequencies = np.abs(np.fft.fftshift(np.fft.fftfreq(size) * size))
    radius = np.hypot(frequencies[:, None], frequencies) / (size / 2)
    spectrum = np.fft.fftshift(np.fft.fft2(residual), axes=(2, 3)) * ((radius >= 0.15) & (radius <= 0.85))
    filtered = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(2, 3))).real
    expected = (filtered**2).mean(axis=(1, 2, 3))
    assert band_errors(torch.from_numpy(residual))[0].numpy() == pytest.approx(expected, rel=1e-6)


def test_a_perfect_network_has_no_error():
    """ε is taken out of x_t by one who knows the image."""
    images = np.zeros_like(IMAGES)

    def estimate(x, t):
        kept = [np.prod(1 - np.linspace(1e-4, 0.02, 1000)[: step + 1]) for step in t.tolist()]
        return x / torch.tensor(np.sqrt(1 - np.array(kept))).float().view(-1, 1, 1, 1)

    found = read(Told("epsilon", estimate), images)
    for name in ("naive", "frequency", "dissimilarity", "pia"):
        assert getattr(found, name).max() < 1e-3


def test_an_oracle_is_read_to_the_digit():
    images = IMAGES.copy()
    images[:, 0, 0] = [1, -1, 1, -1, 1, -1]
    found = read(Oracle(right=0.1, wrong=0.2), images)
    expected = np.where(np.arange(6) % 2, 0.01, 0.04)
    for name in ("naive", "frequency"):
        assert getattr(found, name) == pytest.approx(np.repeat(expected[:, None], 2, axis=1), rel=1e-4)
    assert (np.diff(found.dissimilarity[:2], axis=0) < 0).all()


# ---- PIA


@pytest.mark.parametrize("kind", ["epsilon", "v", "flow", "image"])
def test_the_networks_own_noise_is_found_whatever_it_predicts(kind):
    """All answer for the same noise, and PIA starts from that, at the size of a standard normal."""
    network = Told(kind, lambda x, t: torch.sin(5 * x) * (1 + t.view(-1, 1, 1, 1) / 1000))
    images = torch.from_numpy(IMAGES).float()[:, None]
    told = torch.sin(5 * images)
    told = told / told.abs().mean(dim=(1, 2, 3), keepdim=True) * (2 / torch.pi) ** 0.5

    def query(step, noise):
        return network.denoising_error(images, images, torch.full((6,), step), noise.expand(6, 1, 16, 16))

    gain = {"epsilon": 1.0, "v": 1.0, "flow": -1.0, "image": -1.0}[kind]
    found = proximal_noise(query, gain, (1, 16, 16), torch.device("cpu"))
    assert found.numpy() == pytest.approx(told.numpy(), abs=0.03)
    prediction, target = query(200, told)
    expected = (prediction - target).abs().pow(4).mean(dim=(1, 2, 3)).pow(0.25)
    assert read(network).pia[:, 0] == pytest.approx(expected.numpy(), rel=0.05)


def test_a_network_that_sees_no_noise_is_read_all_the_same():
    assert (read(Told("epsilon", lambda x, t: torch.zeros_like(x))).pia == 0).all()


# ---- Memory


@pytest.mark.slow
def test_a_network_that_has_learnt_eight_slices_by_heart_is_found_out():
    """Of 16 drawn from one source, 8 are trained on for long; before that, nothing tells them apart."""
    masks = hearts(16, seed=1, size=16)
    texture = gaussian_filter(np.random.default_rng(0).normal(size=masks.shape), (0, 1, 1))
    images = np.clip(0.35 * texture / texture.std() + masks / 3 - 0.5, -1, 1)
    torch.manual_seed(0)
    network = DDPM(DDPMNetwork((16, 32), 1, (False, False), 8, 8, LINEAR))

    def auc(name):
        signals = read(network, images, masks, noises=4, batch=16, times=(0.3, 0.45, 0.6))
        scores = untrained_scores(getattr(signals, name))
        return np.mean(scores[:8, None] > scores[8:])

    assert 0.15 < auc("naive") < 0.85
    shown, given_masks = torch.from_numpy(images[:8, None]).float(), one_hot(torch.from_numpy(masks[:8]))
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(500):
        loss = network.train().loss(shown.repeat(2, 1, 1, 1), given_masks.repeat(2, 1, 1, 1), step_randoms(0, step, 16))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for name in set(NAMES) - {"coarse"}:  # which is for masks
        assert auc(name) > 0.9, name


# ---- Bad input


def test_unusable_input_is_an_error():
    network = tiny("ddpm")
    with pytest.raises(DataError, match="attacked images: 1 hold"):
        read(network, np.where(np.arange(6)[:, None, None] == 2, np.nan, IMAGES))
    with pytest.raises(DataError, match="attacked images and masks"):
        read(network, IMAGES[:3])
    with pytest.raises(DataError, match="no slices"):
        read(network, IMAGES[:0], MASKS[:0])
    with pytest.raises(DataError, match="give images to attack"):
        read(network, None)
    with pytest.raises(DataError, match="None for one of masks"):
        read(tiny("masks"))
    for changes in ({"times": ()}, {"times": (1.2,)}, {"noises": 0}, {"batch": 0}):
        with pytest.raises(DataError, match=r"privacy\.membership"):
            read(network, **changes)
    with pytest.raises(DataError, match=r"maps of \(4, 4\)"):
        read(tiny("ldm"), IMAGES[:, :8, :8], MASKS[:, :8, :8])


def test_a_network_that_diverged_is_an_error():
    broken = Told("epsilon", lambda x, t: torch.where(x[:, :, :1, :1] > 0, torch.nan, x))
    with pytest.raises(DataError, match="is not finite"):
        read(broken)
