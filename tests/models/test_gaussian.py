"""The linear denoiser against the best one, which is known where pictures are Gaussian given their mask."""

import dataclasses

import pytest
import torch
from scipy.fft import dctn, idctn
from torch.nn import functional as F

from models.checkpoint import load_network, save_network
from models.config import ScheduleSettings
from models.diffusion import draw_times_and_noise, signal_and_noise
from models.gaussian import GaussianDenoiser, GaussianSettings, check_gaussian
from tests.models.conftest import LINEAR, randoms
from tests.models.with_gaussian import CONFIGS, build, build_awake, slices

SIZE = 16
SETTINGS = GaussianSettings(components=3, cells=4, block=4, slices=4000, size=SIZE)
SIGMAS = (0.03, 0.3, 1.0, 5.0)


def _deviations() -> torch.Tensor:
    """(S, S) standard deviations that depend on the whole-numbered frequency alone, falling like those of real pictures."""
    place = torch.arange(SIZE).float()
    return 0.8 / (1 + torch.hypot(place[:, None], place).round())


class Pictures:
    """Pictures Gaussian given masks of three numbers, with ``low`` (16, 16): the covariance of the 4 × 4 lowest frequencies."""

    def __init__(self, correlated: bool = False):
        rng = torch.Generator().manual_seed(5)
        self.patterns, self.means = torch.randn(3, 3, SIZE, SIZE, generator=rng), torch.randn(4, SIZE, SIZE, generator=rng) / 5
        variances = _deviations()[:4, :4].flatten().square().double()
        self.turned = torch.linalg.qr(torch.randn(16, 16, generator=rng).double())[0] if correlated else torch.eye(16).double()
        self.low = self.turned @ variances.diag() @ self.turned.T

    def draw(self, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pictures (N, 1, S, S), their masks' maps (N, 3, S, S) and their means (N, 1, S, S)."""
        rng = torch.Generator().manual_seed(seed)
        numbers = torch.randn(count, 3, generator=rng)
        mean = (self.means[0] + torch.einsum("nk,kxy->nxy", numbers, self.means[1:]))[:, None]
        coefficients = torch.randn(count, 1, SIZE, SIZE, generator=rng) * _deviations()
        lowest = coefficients[:, 0, :4, :4].flatten(1).double() @ self.turned.T
        coefficients[:, 0, :4, :4] = lowest.float().view(-1, 4, 4)
        pictures = mean + torch.from_numpy(idctn(coefficients.numpy(), axes=(2, 3), norm="ortho"))
        return pictures, torch.einsum("nk,kcxy->ncxy", numbers, self.patterns), mean

    def best(self, x: torch.Tensor, sigma: float, mean: torch.Tensor) -> torch.Tensor:
        """E[picture | x], by the true mean and covariance."""
        off = torch.from_numpy(dctn((x - mean).double().numpy(), axes=(2, 3), norm="ortho"))
        variances = _deviations().square().double()
        kept = off * variances / (variances + sigma**2)
        gain = self.low @ torch.linalg.inv(self.low + sigma**2 * torch.eye(16).double())
        kept[:, 0, :4, :4] = (off[:, 0, :4, :4].flatten(1) @ gain.T).view(-1, 4, 4)
        return mean + torch.from_numpy(idctn(kept.numpy(), axes=(2, 3), norm="ortho")).float()


def _fitted(world: Pictures, settings: GaussianSettings = SETTINGS) -> GaussianDenoiser:
    denoiser = GaussianDenoiser(settings, 1, SIZE)
    denoiser.fit(*world.draw(settings.slices, seed=0)[:2])
    return denoiser


def _size_of(errors: torch.Tensor) -> float:
    return errors.square().mean().sqrt().item()


# ---- The best estimate


@pytest.mark.parametrize("correlated", [False, True])
def test_it_is_the_best_denoiser_of_gaussian_pictures_and_knows_what_it_misses(correlated):
    world = Pictures(correlated)
    denoiser = _fitted(world)
    pictures, maps, mean = world.draw(2000, seed=1)
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(2))
    assert _size_of(denoiser.mean(maps) - mean) < 0.03 * _size_of(mean)
    for sigma in SIGMAS:
        x, level = pictures + sigma * noise, torch.full((2000,), sigma)
        estimate = denoiser(x, level, denoiser.mean(maps))
        missed, least = _size_of(estimate - pictures), _size_of(world.best(x, sigma, mean) - pictures)
        assert least < missed < 1.03 * least
        assert denoiser.error(level[:1]).item() == pytest.approx(missed, rel=0.05)
        assert _size_of(estimate - world.best(x, sigma, mean)) < 0.2 * missed


def test_a_full_covariance_of_low_frequencies_misses_less_than_variances_alone():
    world = Pictures(correlated=True)
    pictures, maps, _ = world.draw(2000, seed=1)
    x = pictures + 0.3 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(2))
    missed = []
    for block in (4, 1):
        denoiser = _fitted(world, dataclasses.replace(SETTINGS, block=block))
        missed.append(_size_of(denoiser(x, torch.full((2000,), 0.3), denoiser.mean(maps)) - pictures))
    assert missed[0] < 0.99 * missed[1]


def test_the_error_goes_from_the_noise_to_the_pictures_own_spread():
    world = Pictures()
    denoiser = _fitted(world)
    pictures, _, mean = world.draw(4000, seed=3)
    low, high = denoiser.error(torch.tensor([1e-3, 1e3])).flatten().tolist()
    assert low == pytest.approx(1e-3, rel=0.01)
    assert high == pytest.approx(_size_of(pictures - mean), rel=0.02)
    levels = denoiser.error(torch.logspace(-3, 1, 50)).flatten()
    assert (levels.diff() > 0).all()


def test_at_low_noise_it_gives_the_picture_back_and_at_high_noise_the_mean():
    world = Pictures()
    denoiser = _fitted(world)
    pictures, maps, _ = world.draw(10, seed=4)
    mean = denoiser.mean(maps)
    assert torch.allclose(denoiser(pictures, torch.full((10,), 1e-4), mean), pictures, atol=1e-4)
    assert torch.allclose(denoiser(pictures, torch.full((10,), 1e4), mean), mean, atol=1e-4)


def test_without_a_mask_it_expects_the_mean_of_all_pictures():
    world = Pictures()
    pictures, maps, _ = world.draw(SETTINGS.slices, seed=0)
    expected = _fitted(world).mean(torch.zeros_like(maps[:1]))
    assert torch.allclose(expected[0], pictures.mean(dim=0), atol=1e-3)


def test_a_noisy_picture_at_any_scale_is_understood():
    """signal · picture + noise · N(0, 1) tells what picture + noise / signal · N(0, 1) tells; residuals go there and back."""
    world = Pictures()
    denoiser = _fitted(world)
    pictures, maps, _ = world.draw(3, seed=6)
    signal, noise = torch.tensor([0.9, 0.5, 0.1]), torch.tensor([0.1, 0.5, 0.99])
    x = pictures + torch.randn(pictures.shape) * (noise / signal).view(-1, 1, 1, 1)
    start = denoiser.start(signal.view(-1, 1, 1, 1) * x, signal, noise, maps)
    assert torch.equal(start.mean, denoiser.mean(maps))
    assert torch.allclose(start.picture, denoiser(x, noise / signal, start.mean), atol=1e-5)
    assert torch.equal(start.error, denoiser.error(noise / signal))
    assert torch.allclose(start.clean(start.residual(pictures)), pictures, atol=1e-6)


def test_residuals_have_about_unit_variance_at_every_time():
    network = build("ddpm")
    images, masks = slices(256, seed=1)
    for t in (0, 100, 400, 999):
        times, noise = torch.full((256,), t), torch.randn(images.shape, generator=torch.Generator().manual_seed(t))
        _, target = network.denoising_error(images, masks, times, noise)
        assert _size_of(target) == pytest.approx(1, abs=0.15), t


# ---- What it holds of patients


def test_training_and_held_out_pictures_of_one_distribution_are_missed_alike():
    """Within 2 %, with 16 components, 1024 slices and the same share of the frequencies as 12 of 64."""
    settings = GaussianSettings(components=16, cells=8, block=6, slices=1024, size=32)
    place = torch.arange(32).float()
    deviations = 2 / (1 + torch.hypot(place[:, None], place).round())

    def draw(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = torch.Generator().manual_seed(seed)
        maps = F.interpolate(torch.randn(1024, 3, 8, 8, generator=rng), (32, 32))
        coefficients = torch.randn(1024, 1, 32, 32, generator=rng) * deviations
        pictures = torch.from_numpy(idctn(coefficients.numpy(), axes=(2, 3), norm="ortho"))
        return pictures + 0.1 * maps.mean(dim=1, keepdim=True), maps

    training, held_out = draw(0), draw(1)
    denoiser = GaussianDenoiser(settings, 1, 32)
    denoiser.fit(*training)
    for sigma in SIGMAS:
        level, noise = torch.full((1024,), sigma), torch.randn(1024, 1, 32, 32, generator=torch.Generator().manual_seed(2))
        missed = [_size_of(denoiser(p + sigma * noise, level, denoiser.mean(m)) - p) for p, m in (training, held_out)]
        assert missed[1] == pytest.approx(missed[0], rel=0.02)


# ---- Precision and files


def test_it_computes_in_float32_under_mixed_precision_too():
    world = Pictures()
    denoiser = _fitted(world)
    given, (pictures, maps, _) = world.draw(SETTINGS.slices, seed=0), world.draw(4, seed=7)
    signal, again = torch.tensor([0.9, 0.5, 0.2, 0.01]), GaussianDenoiser(SETTINGS, 1, SIZE)
    plain = denoiser.start(pictures, signal, 1 - signal, maps)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = denoiser.start(pictures, signal, 1 - signal, maps)
        again.fit(*given[:2])
        assert torch.equal(denoiser(pictures, signal, mixed.mean), denoiser(pictures, signal, plain.mean))
    for one, other in zip(dataclasses.astuple(plain), dataclasses.astuple(mixed), strict=True):
        assert other.dtype == torch.float32
        assert torch.equal(one, other)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in denoiser.state_dict().items())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_network_under_mixed_precision_has_a_float32_target_and_a_loss_near_that_of_float32(name):
    network = build_awake(name)
    images, masks = slices(8, seed=2)
    t, noise = draw_times_and_noise(network.noise_shape(16), 1000, randoms(8), images.device)
    plain = network.loss(images, masks, randoms(8))
    with torch.autocast("cpu", torch.bfloat16):
        target = network.denoising_error(images, masks, t, noise)[1]
        mixed = network.loss(images, masks, randoms(8))
    assert target.dtype == torch.float32
    assert mixed.item() == pytest.approx(plain.item(), rel=0.05)


def test_its_state_goes_there_and_back():
    world = Pictures()
    denoiser, other = _fitted(world), GaussianDenoiser(SETTINGS, 1, SIZE)
    other.load_state_dict(denoiser.state_dict())
    pictures, maps, _ = world.draw(3, seed=8)
    level = torch.tensor([0.1, 1.0, 10.0])
    assert torch.equal(other(pictures, level, other.mean(maps)), denoiser(pictures, level, denoiser.mean(maps)))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_checkpoint_holds_the_linear_denoiser(name, tmp_path):
    kind, config = CONFIGS[name]
    network, masks = build_awake(name), slices(2, seed=3)[1]
    save_network(tmp_path, config, network.state_dict())
    loaded = load_network(tmp_path, kind, torch.device("cpu"), config)
    assert loaded.config == config
    drawn = [net.sample(masks, [7, 8], sampler="ancestral", steps=4) for net in (network, loaded)]
    assert (drawn[0] - drawn[1]).abs().max() < 1e-3
    for key, tensor in network.gaussian.state_dict().items():
        assert torch.equal(loaded.gaussian.state_dict()[key], tensor), key


def test_a_pixel_network_begins_as_the_linear_denoiser_itself():
    network = build("ddpm")
    images, masks = slices(4, seed=5)
    t, noise = torch.tensor([10, 200, 600, 990]), torch.randn(images.shape)
    prediction, target = network.denoising_error(images, masks, t, noise)
    assert prediction.abs().max() < 0.2  # the bias of the last layer is what is left
    signal, level = signal_and_noise(network.schedule, t)
    start = network._predict(signal.view(-1, 1, 1, 1) * images + level.view(-1, 1, 1, 1) * noise, t, masks)[1]
    assert torch.allclose(start.residual(images), target, atol=1e-4)


# ---- Samples


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("sampler", ["ancestral", "other"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_sample_does_not_depend_on_its_batch(name, sampler, guidance):
    network, masks = build_awake(name), slices(5, seed=4)[1]
    how = {"sampler": {"fm": "heun"}.get(name, "ddim") if sampler == "other" else sampler, "steps": 4, "guidance": guidance}
    whole = network.sample(masks, [1, 2, 3, 4, 5], **how)
    part = network.sample(masks[2:4], [3, 4], **how)
    assert whole.shape == (5, 1, 16, 16)
    assert whole.abs().max() <= 1
    assert (whole[2:4] - part).abs().max() < 1e-3
    assert (network.sample(masks[2:4], [13, 14], **how) - part).abs().mean() > 0.01


# ---- Settings that do not fit


@pytest.mark.parametrize(
    ("gaussian", "condition", "prediction", "message"),
    [
        (SETTINGS, "one_hot", "residual", r"ddpm\.network: a linear denoiser \(gaussian\) reads distances"),
        (SETTINGS, "distances", "epsilon", r"'residual' goes with the linear denoiser.*found 'epsilon' and gaussian set"),
        (None, "distances", "residual", r"found 'residual' and gaussian null"),
    ],
)
def test_a_linear_denoiser_and_its_prediction_go_together(gaussian, condition, prediction, message):
    with pytest.raises(ValueError, match=message):
        check_gaussian("ddpm", gaussian, condition, prediction)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_network_refuses_a_linear_denoiser_of_one_hot_masks(name):
    with pytest.raises(ValueError, match=rf"{name}\.network: a linear denoiser \(gaussian\) reads distances"):
        dataclasses.replace(CONFIGS[name][1], condition="one_hot")
    if name != "fm":
        schedule = ScheduleSettings(**{**vars(LINEAR), "prediction": "v_prediction"})
        with pytest.raises(ValueError, match=rf"{name}\.network: schedule\.prediction"):
            dataclasses.replace(CONFIGS[name][1], schedule=schedule)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"components": 0}, r"components, cells, block and slices must be at least 1"),
        ({"block": 0}, r"must be at least 1"),
        ({"components": 49, "slices": 4000}, r"components.*at most 48.*found 49"),
        ({"components": 16, "slices": 16}, r"slices.*more than components.*found 16"),
    ],
)
def test_numbers_that_leave_nothing_to_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **changes)


def test_a_denoiser_of_pictures_without_a_size_is_refused():
    with pytest.raises(ValueError, match=r"size"):
        GaussianDenoiser(SETTINGS, 1, 0)
