"""The noise schedule and the samplers that the diffusion models share, on the schedulers of the diffusers library.

Ho et al., "Denoising diffusion probabilistic models", 2020 (``ddpm``); Song et al., 2021, doi:10.48550/arXiv.2010.02502
(``ddim``); Lu et al., 2022, doi:10.48550/arXiv.2211.01095 (``dpm++``); Karras et al., 2022, doi:10.48550/arXiv.2206.00364 (the
noise levels of ``ancestral``).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from models.config import ScheduleSettings
from models.data import Randoms
from models.device import weights_cast_once

SAMPLERS = ("ddpm", "ddim", "dpm++", "ancestral")
Watch = Callable[[float, Callable[[], Tensor]], None]
"""Told of each state on the way from noise to image: 1 - t/T (0 noise, 1 image), and how to get the state."""


def noise_schedule(settings: ScheduleSettings, *, bounded: bool = True) -> Any:
    """The forward process q(x_t | x_0) of the paper's section III-B1.

    Args:
        bounded: the data lie in [-1, 1], and so estimates of x_0 are clipped there while sampling; False for latents.
    """
    return DDPMScheduler(
        num_train_timesteps=settings.timesteps,
        beta_schedule=settings.kind,
        beta_start=settings.beta_start,
        beta_end=settings.beta_end,
        prediction_type="sample" if settings.prediction == "residual" else settings.prediction,
        clip_sample=bounded,
    )


def noisy_and_target(schedule: Any, clean: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """x_t, and what the network should tell of it, both of the shape of ``clean`` (B, ...); ``t`` is (B,) integer.

    The target is the noise ε, as in the paper; v = √ᾱ·ε - √(1 - ᾱ)·x_0 (Salimans and Ho 2022, doi:10.48550/arXiv.2202.00512);
    or x_0.
    """
    kind = schedule.config.prediction_type
    target = {"epsilon": noise, "sample": clean}.get(kind)
    return schedule.add_noise(clean, noise, t), schedule.get_velocity(clean, noise, t) if target is None else target


def signal_and_noise(schedule: Any, t: Tensor) -> tuple[Tensor, Tensor]:
    """√ᾱ and √(1 - ᾱ), both (B,), at integer times (B,)."""
    kept = schedule.alphas_cumprod.to(t.device)[t]
    return kept.sqrt(), (1 - kept).sqrt()


def draw_times_and_noise(
    shape: tuple[int, ...], timesteps: int, randoms: Randoms, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Uniform integer times (B,) and standard normal noise (B, *shape), each image's from its own source.

    They are drawn on the CPU, so that a training run sees the same numbers on every device.
    """
    t = torch.cat([torch.randint(0, timesteps, (1,), generator=random) for random in randoms])
    noise = torch.stack([torch.randn(shape, generator=random) for random in randoms])
    return t.to(device), noise.to(device)


def seeded_noise(shape: tuple[int, ...], randoms: Randoms, device: torch.device) -> Tensor:
    """Standard normal noise (B, *shape), each image's from its own source."""
    return torch.stack([torch.randn(shape, generator=random) for random in randoms]).to(device)


@torch.no_grad()
def denoise(
    predict: Callable[[Tensor, Tensor], Tensor],
    shape: tuple[int, ...],
    seeds: Sequence[int],
    schedule: Any,
    *,
    sampler: str,
    steps: int,
    device: torch.device,
    watch: Watch | None = None,
) -> Tensor:
    """Runs the reverse process from noise.

    Args:
        predict: maps (x_t, t) to the network's prediction; x_t is (B, *shape), t is (B,) integer.
        shape: of one sample, channels first.
        seeds: one an image; all randomness of an image comes from its own seed, so its neighbours in the batch don't matter.
        schedule: the forward process that the network was trained with.
        sampler: ``ddpm`` (ancestral, equal steps of time), ``ancestral`` (the same process, by the noise levels of
            :func:`noise_levels`), ``ddim`` (deterministic) or ``dpm++`` (second order, deterministic).
        steps: network passes, at most the schedule's number of time steps.
        watch: is told each state, the first being noise.

    Returns:
        (B, *shape) float32.
    """
    scheduler = _scheduler(sampler, schedule)
    if sampler == "ancestral" or (sampler == "dpm++" and _is_cosine(schedule)):
        scheduler.set_timesteps(timesteps=_times_of(noise_levels(steps), schedule))
    else:
        scheduler.set_timesteps(steps)
    randoms = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    x = seeded_noise(shape, randoms, device)
    # The deterministic samplers refuse, or do not need, a source of noise.
    noise = {"generator": randoms} if isinstance(scheduler, DDPMScheduler) else {}
    with weights_cast_once(device):
        for t in scheduler.timesteps:
            if watch:
                watch(1 - (int(t) + 1) / schedule.config.num_train_timesteps, partial(_as_is, x))
            prediction = predict(x, t.expand(len(x)).to(device)).float()
            x = scheduler.step(prediction, t, x, **noise).prev_sample
    if watch:
        watch(1.0, partial(_as_is, x))
    return x


def _as_is(state: Tensor) -> Tensor:
    return state


HIGHEST, LOWEST = 20.0, 0.03
"""Noise levels of the first and of the last step, in units of the data's range from 0 to its edge."""
CURVATURE = 7.0


def noise_levels(steps: int) -> Tensor:
    """σ of each step (steps,), falling: standard deviations of the noise on a clean picture, few high and many low ones."""
    ends = torch.tensor([HIGHEST, LOWEST], dtype=torch.float64) ** (1 / CURVATURE)
    return (torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64) ** CURVATURE).float()


def schedule_levels(schedule: Any) -> Tensor:
    """σ of each time (T,) of a schedule, rising: the noise's standard deviation where the picture is scaled to 1."""
    kept = schedule.alphas_cumprod
    return ((1 - kept) / kept).sqrt()


def _times_of(levels: Tensor, schedule: Any) -> list[int]:
    """The integer times whose noise is nearest, each once, falling."""
    distances = (levels[:, None].log() - schedule_levels(schedule).log()).abs()
    return sorted(set(distances.argmin(dim=1).tolist()), reverse=True)


def _scheduler(sampler: str, schedule: Any) -> Any:
    if sampler != "dpm++":
        # Trailing: few steps begin at the last time, where there is nothing but noise, as the start is.
        kind = {"ddpm": DDPMScheduler, "ancestral": DDPMScheduler, "ddim": DDIMScheduler}[sampler]
        return kind.from_config(schedule.config, timestep_spacing="trailing")
    # Time steps even in log signal-to-noise: with the default, even in t, 20 steps of dpm++ reach 3/4 of a Gaussian's true
    # standard deviation; with these, 10 steps reach all of it. Under a cosine schedule, whose noise rises to 20 000 times the
    # picture, half of such steps would lie where there is nothing but noise; there `noise_levels` gives them. Thresholding at 1
    # clips the estimate of x_0 to the data's range, as the other samplers do: at the noisiest step it is the network's error
    # times 150, and a run away from there is lost.
    clip = {"thresholding": True, "sample_max_value": 1.0} if schedule.config.clip_sample else {}
    return DPMSolverMultistepScheduler.from_config(schedule.config, use_lu_lambdas=not _is_cosine(schedule), **clip)


def _is_cosine(schedule: Any) -> bool:
    return schedule.config.beta_schedule == "squaredcos_cap_v2"
