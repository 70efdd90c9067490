"""The schedule and the samplers against closed forms."""

from dataclasses import replace

import pytest
import torch

from models.diffusion import (
    SAMPLERS,
    denoise,
    draw_times_and_noise,
    noise_levels,
    noise_schedule,
    noisy_and_target,
    schedule_levels,
    signal_and_noise,
)
from tests.models.conftest import LINEAR, ancestral_moments, randoms

CPU = torch.device("cpu")
MEAN, DEVIATION = 0.3, 0.2  # within [-1, 1], where the samplers may clip


def test_forward_marginal_has_the_closed_form_mean_and_variance():
    schedule = noise_schedule(LINEAR)
    x0 = torch.full((1, 1, 256, 256), 0.7)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    for t in (0, 250, 999):
        kept = torch.prod(1 - betas[: t + 1])
        noisy = schedule.add_noise(x0, noise, torch.tensor([t]))
        assert noisy.mean().item() == pytest.approx(0.7 * kept.sqrt().item(), abs=0.02)
        assert noisy.var().item() == pytest.approx(1 - kept.item(), rel=0.03, abs=1e-6)


def _ideal(schedule):
    """The best prediction where the data are independent Gaussian pixels: E[ε | x_t], E[v | x_t] or E[x_0 | x_t]."""

    def predict(x, t):
        kept = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        variance = kept * DEVIATION**2 + 1 - kept
        noise = (1 - kept).sqrt() * (x - kept.sqrt() * MEAN) / variance
        clean = MEAN + kept.sqrt() * DEVIATION**2 * (x - kept.sqrt() * MEAN) / variance
        velocity = kept.sqrt() * noise - (1 - kept).sqrt() * clean
        return {"epsilon": noise, "v_prediction": velocity, "sample": clean}[schedule.config.prediction_type]

    return predict


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "residual"])
@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 1000), ("ddim", 100), ("dpm++", 10), ("ancestral", 400)])
def test_samplers_reach_a_gaussian_whose_score_is_known(sampler, steps, prediction):
    schedule = noise_schedule(replace(LINEAR, prediction=prediction))
    drawn = denoise(_ideal(schedule), (1, 48, 48), [1, 2, 3, 4], schedule, sampler=sampler, steps=steps, device=CPU)
    assert drawn.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert drawn.std().item() == pytest.approx(DEVIATION, rel=0.06)


@pytest.mark.parametrize("settings", [LINEAR, replace(LINEAR, kind="squaredcos_cap_v2"), replace(LINEAR, beta_end=0.006)])
def test_the_ancestral_sampler_passes_by_its_noise_levels(settings):
    """Each level of the schedule is within a step of the schedule of one that was asked for, the last ends at the image."""
    schedule, asked = noise_schedule(settings), []

    def predict(x, t):
        asked.append(int(t[0]))
        return _ideal(schedule)(x, t)

    drawn = denoise(predict, (1, 8, 8), [1], schedule, sampler="ancestral", steps=12, device=CPU)
    levels = schedule_levels(schedule)
    wanted = noise_levels(12).clamp(max=float(levels[-1]))
    assert asked == sorted(set(asked), reverse=True)
    assert 6 <= len(asked) <= 12
    gaps = levels.log().diff()
    for t in asked:
        assert (levels[t].log() - wanted.log()).abs().min() <= gaps[max(0, t - 1) : t + 1].max()
    assert drawn.std().item() < 2 * DEVIATION


def test_dpm_spends_its_steps_where_there_is_a_picture_under_a_cosine_schedule():
    schedule, asked = noise_schedule(replace(LINEAR, kind="squaredcos_cap_v2")), []

    def predict(x, t):
        asked.append(int(t[0]))
        return _ideal(schedule)(x, t)

    drawn = denoise(predict, (1, 48, 48), [1, 2], schedule, sampler="dpm++", steps=10, device=CPU)
    levels = schedule_levels(schedule)[asked]
    assert len(set(asked)) == 10
    assert levels.max() < 25
    assert drawn.std().item() == pytest.approx(DEVIATION, rel=0.1)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "residual"])
def test_few_ancestral_steps_draw_what_the_closed_form_says(prediction):
    """Ten steps draw two thirds of a Gaussian's spread, whatever the prediction."""
    schedule, asked = noise_schedule(replace(LINEAR, prediction=prediction)), []

    def predict(x, t):
        asked.append(int(t[0]))
        return _ideal(schedule)(x, t)

    drawn = denoise(predict, (1, 48, 48), [1, 2, 3, 4], schedule, sampler="ancestral", steps=10, device=CPU)
    levels = schedule_levels(schedule)[asked].tolist()
    mean, deviation = ancestral_moments(levels, (0.0, (1 + levels[0] ** 2) ** 0.5), MEAN, DEVIATION)[-1]
    assert drawn.mean().item() == pytest.approx(mean, abs=0.01)
    assert drawn.std().item() == pytest.approx(deviation, rel=0.03)
    assert mean == pytest.approx(MEAN, abs=0.01)
    assert 0.6 < deviation / DEVIATION < 0.75


def test_noise_levels_fall_from_pure_noise_to_almost_none():
    levels = noise_levels(10)
    assert levels[[0, -1]].tolist() == pytest.approx([20, 0.03], rel=1e-4)
    assert (levels.diff() < 0).all()


def test_signal_and_noise_are_those_of_the_schedule():
    schedule, t = noise_schedule(LINEAR), torch.tensor([0, 400, 999])
    clean, noise = torch.full((3, 1), 0.7), torch.full((3, 1), -0.4)
    signal, level = signal_and_noise(schedule, t)
    assert torch.allclose(schedule.add_noise(clean, noise, t)[:, 0], 0.7 * signal - 0.4 * level)


def test_noise_and_velocity_tell_the_same():
    """From x_t and v follow the noise and the clean image that from x_t and ε follow."""
    clean, noise = torch.rand(4, 1, 8, 8) * 2 - 1, torch.randn(4, 1, 8, 8)
    t = torch.tensor([0, 200, 700, 999])
    noisy, epsilon = noisy_and_target(noise_schedule(LINEAR), clean, noise, t)
    schedule = noise_schedule(replace(LINEAR, prediction="v_prediction"))
    same, velocity = noisy_and_target(schedule, clean, noise, t)
    kept = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    assert torch.equal(noisy, same)
    assert torch.equal(epsilon, noise)
    assert torch.allclose(kept.sqrt() * velocity + (1 - kept).sqrt() * noisy, noise, atol=1e-5)
    assert torch.allclose(kept.sqrt() * noisy - (1 - kept).sqrt() * velocity, clean, atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_depends_on_its_seed_and_not_on_its_neighbours(sampler):
    schedule = noise_schedule(LINEAR)

    def draw(seeds):
        return denoise(_ideal(schedule), (1, 8, 8), seeds, schedule, sampler=sampler, steps=10, device=CPU)

    together, alone = draw([5, 6, 7]), draw([6])
    assert torch.allclose(together[1], alone[0], atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_times_cover_the_schedule_and_repeat_with_the_seed():
    t, noise = draw_times_and_noise((1, 1, 1), 1000, randoms(4000, seed=3), CPU)
    again, _ = draw_times_and_noise((1, 1, 1), 1000, randoms(4000, seed=3), CPU)
    assert t.min() < 5
    assert t.max() > 994
    assert torch.equal(t, again)
    assert noise.std().item() == pytest.approx(1, abs=0.05)


def test_one_ancestral_step_has_the_posterior_of_the_closed_form():
    """q(x_{t-1} | x_t, x_0) of Ho et al., eqs. 6 and 7, where the network tells the true noise."""
    schedule, t = noise_schedule(LINEAR), 600
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    kept = torch.cumprod(1 - betas, 0)
    clean, noise = 0.4, 0.7
    noisy = kept[t].sqrt() * clean + (1 - kept[t]).sqrt() * noise
    mean = (kept[t - 1].sqrt() * betas[t] * clean + (1 - betas[t]).sqrt() * (1 - kept[t - 1]) * noisy) / (1 - kept[t])
    variance = betas[t] * (1 - kept[t - 1]) / (1 - kept[t])
    schedule.set_timesteps(1000)
    x, told = torch.full((1, 1, 512, 512), noisy), torch.full((1, 1, 512, 512), noise)
    before = schedule.step(told, t, x, generator=torch.Generator().manual_seed(0)).prev_sample
    assert before.mean().item() == pytest.approx(mean.item(), abs=1e-3)
    assert before.var().item() == pytest.approx(variance.item(), rel=0.02)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_latents_beyond_the_range_of_images_are_not_clipped(sampler):
    schedule = noise_schedule(replace(LINEAR, beta_start=8.5e-4, beta_end=0.012), bounded=False)

    def towards_three(x, t):
        kept = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        return (x - kept.sqrt() * 3) / (1 - kept).sqrt()

    drawn = denoise(towards_three, (1, 8, 8), [1], schedule, sampler=sampler, steps=50, device=CPU)
    assert drawn.mean().item() == pytest.approx(3, abs=0.05)
