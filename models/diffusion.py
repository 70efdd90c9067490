"""The noise schedule and the samplers that the diffusion models share, on the schedulers of the diffusers library.

Ho et al., "Denoising diffusion probabilistic models", 2020 (``ddpm``); Song et al., 2021, doi:10.48550/arXiv.2010.02502
(``ddim``); Lu et al., 2022, doi:10.48550/arXiv.2211.01095 (``dpm++``).
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction"]

# Time steps even in log signal-to-noise: with the default, even in t, 20 steps of dpm++ reach 3/4 of a Gaussian's true
# standard deviation; with these, 10 steps reach all of it. Thresholding at 1 clips the estimate of x_0 to the data's range,
# as the other two samplers do: at the noisiest step it is the network's error times 150, and a run away from there is lost.
_SAMPLERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, {}),
    "ddim": (DDIMScheduler, {}),
    "dpm++": (DPMSolverMultistepScheduler, {"use_lu_lambdas": True, "thresholding": True, "sample_max_value": 1.0}),
}


def noise_schedule(timesteps: int, beta_schedule: str, prediction: Prediction) -> Any:
    """The forward process q(x_t | x_0) of the paper's section III-B1 for data in [-1, 1].

    Args:
        prediction: what the network learns to tell: ``epsilon``, the noise, as in the paper, or ``v_prediction``, which is
            √ᾱ·noise - √(1 - ᾱ)·x_0 (Salimans and Ho 2022, doi:10.48550/arXiv.2202.00512).
    """
    return DDPMScheduler(
        num_train_timesteps=timesteps, beta_schedule=beta_schedule, prediction_type=prediction, clip_sample=True
    )


def noisy_and_target(schedule: Any, clean: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """x_t, and what the network should tell of it, both of the shape of ``clean`` (B, ...); ``t`` is (B,) integer."""
    target = noise if schedule.config.prediction_type == "epsilon" else schedule.get_velocity(clean, noise, t)
    return schedule.add_noise(clean, noise, t), target


def draw_times_and_noise(like: Tensor, timesteps: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Uniform integer times (B,) and standard normal noise of the shape of ``like``, on its device.

    They are drawn on the CPU, so that a training run sees the same numbers on every device.
    """
    t = torch.randint(0, timesteps, (len(like),), generator=rng)
    noise = torch.randn(like.shape, generator=rng)
    return t.to(like.device), noise.to(like.device)


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
) -> Tensor:
    """Runs the reverse process from noise.

    Args:
        predict: maps (x_t, t) to the network's prediction; x_t is (B, *shape), t is (B,) integer.
        shape: of one sample, channels first.
        seeds: one an image; all randomness of an image comes from its own seed, so its neighbours in the batch don't matter.
        schedule: the forward process that the network was trained with.
        sampler: ``ddpm`` (ancestral), ``ddim`` (deterministic) or ``dpm++`` (second order, deterministic).
        steps: network passes, at most the schedule's number of time steps.

    Returns:
        (B, *shape) float32.
    """
    kind, options = _SAMPLERS[sampler]
    scheduler = kind.from_config(schedule.config, **options)
    scheduler.set_timesteps(steps)
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    x = torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device)
    # The deterministic samplers refuse, or do not need, a source of noise.
    noise = {"generator": generators} if sampler == "ddpm" else {}
    for t in scheduler.timesteps:
        prediction = predict(x, t.expand(len(x)).to(device)).float()
        x = scheduler.step(prediction, t, x, **noise).prev_sample
    return x
