"""Flow matching with its mask through a ControlNet (paper, section IV-C2c), on MONAI's networks.

Lipman et al. 2023, doi:10.48550/arXiv.2210.02747 (the path); Zhang et al. 2023, doi:10.48550/arXiv.2302.05543 (ControlNet).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from models.base import Generator
from models.conditions import CHANNELS, Condition, encode, far_distances
from models.config import Precision
from models.data import Randoms
from models.device import autocast, weights_cast_once
from models.diffusion import Watch, draw_times_and_noise, noise_levels, seeded_noise
from models.gaussian import GaussianDenoiser, GaussianSettings, Start, check_gaussian
from models.guidance import guided
from models.monai_networks import ControlNet, DiffusionModelUNet

SOLVERS = ("euler", "midpoint", "heun", "dopri5")
SAMPLERS = (*SOLVERS, "ancestral")

TOLERANCE = 1e-4
"""Of a step of ``dopri5``, absolute and relative, on the root mean square over an image's pixels. On Gaussian flows, where the
solution is known, the end is then off by less than a tenth of a grey level of 256; at 1e-3, single steps of nearly the whole
way pass the solver's own check and are off by two levels."""


@dataclass(frozen=True)
class FlowNetwork:
    """Shape of the UNet, of the ControlNet that mirrors its encoder, and of the embedding of the mask."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    widths: tuple[int, ...]
    residual_blocks: int
    attention: tuple[bool, ...]
    """Spatial transformers, one flag a level, finest first; the decoder mirrors it, and the bottleneck always has one."""
    transformer_layers: int
    cross_attention: int
    """Width of what the second attention of a transformer layer reads. No context is given, and it then reads the level
    itself, so this is the width of the levels that attend."""
    norm_groups: int
    mask_embedding: int
    """Channels between the two convolutions that embed the mask for the ControlNet."""
    timesteps: int
    """Number of times in [0, 1] that the network is trained at, each with its embedding."""
    condition: Condition = "one_hot"
    gaussian: GaussianSettings | None = None
    """The linear denoiser whose residual the network predicts; None: it predicts the velocity."""

    def __post_init__(self) -> None:
        check_gaussian("fm", self.gaussian, self.condition, "residual" if self.gaussian else "velocity")
        if len(self.attention) != len(self.widths):
            raise ValueError(
                f"fm.network: {len(self.widths)} widths but {len(self.attention)} attention flags; give one a level"
            )
        attending = {width for width, attends in zip(self.widths, self.attention, strict=True) if attends}
        if attending | {self.widths[-1]} != {self.cross_attention}:
            raise ValueError(
                f"fm.network: cross_attention must be {self.widths[-1]}, the width of the deepest level, and only levels of "
                f"that width may attend; found {self.cross_attention} and attention at widths {sorted(attending)}"
            )


class FlowMatching(Generator):
    """Learns the velocity that carries noise at time 0 straight to the image at time 1.

    The integer times of the other generators, 0 next to the image and T - 1 at noise, are the flow's 1 - (t + 1) / T.

    The ControlNet starts from the UNet's weights, and the convolutions that let it into the UNet start at zero, as do the last
    ones of the UNet and of the mask's embedding. So at first the mask has no say, and no weight behind a zero learns: the last
    of them, the first convolution over the mask, from the fourth step on.
    """

    Config = FlowNetwork
    samplers = SAMPLERS

    def __init__(self, config: FlowNetwork):
        super().__init__()
        self.gaussian = GaussianDenoiser(config.gaussian, 1, config.gaussian.size) if config.gaussian else None
        shape: dict[str, Any] = {
            "spatial_dims": 2,
            "in_channels": 3 if self.gaussian else 1,
            "channels": config.widths,
            "num_res_blocks": config.residual_blocks,
            "resblock_updown": True,
            "attention_levels": config.attention,
            "num_head_channels": config.widths,
            "with_conditioning": True,
            "transformer_num_layers": config.transformer_layers,
            "cross_attention_dim": config.cross_attention,
            "norm_num_groups": config.norm_groups,
        }
        self.unet = DiffusionModelUNet(out_channels=1, **shape)
        self.controlnet = ControlNet(
            conditioning_embedding_in_channels=CHANNELS[config.condition],
            # One width: each further one would halve the embedding, and it has to fit the image.
            conditioning_embedding_num_channels=(config.mask_embedding,),
            **shape,
        )
        self.controlnet.load_state_dict(self.unet.state_dict(), strict=False)  # all that the two have in common
        self.config = config
        self.timesteps = config.timesteps

    def fit_gaussian(self, images: Tensor, masks: Tensor) -> None:
        if self.gaussian:
            self.gaussian.fit(images, far_distances(encode(masks, self.config.condition)))

    def _predict(self, x: Tensor, t: Tensor, masks: Tensor) -> tuple[Tensor, Start | None]:
        """The velocity; or what the linear denoiser misses of the image, and the denoiser's estimate."""
        channels, inputs, start = encode(masks, self.config.condition), x, None
        if self.gaussian:
            noise = (t + 1) / self.timesteps
            signal = (1 - noise).clamp(min=0.5 / self.timesteps)  # none is left at the last time
            start = self.gaussian.start(x, signal, noise, far_distances(channels))
            inputs = torch.cat([x, start.picture, start.mean], dim=1)
        encoder, bottleneck = self.controlnet(inputs, t, channels)
        prediction = self.unet(inputs, t, down_block_additional_residuals=encoder, mid_block_additional_residual=bottleneck)
        return prediction, start

    def _velocity(self, x: Tensor, t: Tensor, masks: Tensor) -> Tensor:
        prediction, start = self._predict(x, t, masks)
        if start is None:
            return prediction
        return (start.clean(prediction) - x) / ((t + 1) / self.timesteps).view(-1, 1, 1, 1)

    def _nearest(self, time: Tensor) -> Tensor:
        """The integer time that is nearest to a time in [0, 1] of the flow."""
        return (self.timesteps * (1 - time) - 1).round().long().clamp(min=0)

    def loss(self, images: Tensor, masks: Tensor, randoms: Randoms) -> Tensor:
        t, noise = draw_times_and_noise(tuple(images.shape[1:]), self.timesteps, randoms, images.device)
        prediction, target = self.denoising_error(images, masks, t, noise)
        return F.mse_loss(prediction.float(), target)

    def denoising_error(self, images: Tensor, masks: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        x, target = path(images, noise, 1 - (t + 1) / self.timesteps)
        prediction, start = self._predict(x, t, masks)
        return prediction, start.residual(images) if start else target

    @torch.no_grad()
    def sample(
        self,
        masks: Tensor,
        seeds: Sequence[int],
        *,
        sampler: str,
        steps: int,
        guidance: float = 1.0,
        precision: Precision = "float32",
        watch: Watch | None = None,
    ) -> Tensor:
        """As :meth:`Generator.sample`; for ``sampler`` and ``steps`` see :func:`integrate` (``ancestral``: :func:`renoise`).

        ``dopri5`` solves image after image, so that the steps of one do not depend on its neighbours; ``watch`` is then told
        of each in turn.
        """

        def solve(noise: Tensor, masks: Tensor) -> Tensor:
            def velocity(x: Tensor, time: Tensor) -> Tensor:
                t = self._nearest(time).expand(len(x))
                with autocast(x.device, precision):
                    return guided(self._velocity, x, t, masks, guidance).float()

            if sampler == "ancestral":
                return renoise(velocity, noise, randoms, steps=steps, watch=watch)
            return integrate(velocity, noise, sampler=sampler, steps=steps, watch=watch)

        randoms = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        noise = seeded_noise(self.noise_shape(masks.shape[-1]), randoms, masks.device)
        together = 1 if sampler == "dopri5" else len(noise)
        parts = zip(noise.split(together), masks.split(together), strict=True)
        with weights_cast_once(masks.device):
            return torch.cat([solve(*part) for part in parts]).clamp(-1, 1)


def path(images: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """The conditional optimal-transport path and its velocity: (1 - time)·noise + time·image, and image - noise.

    Args:
        images: (B, ...), as ``noise``; time: (B,) in [0, 1].
    """
    return torch.lerp(noise, images, time.view(-1, *[1] * (images.dim() - 1))), images - noise


@torch.no_grad()
def integrate(
    velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, *, sampler: str, steps: int, watch: Watch | None = None
) -> Tensor:
    """Solves dx/dt = velocity(x, t) from ``noise`` at t = 0 to t = 1.

    Args:
        velocity: maps x, of the shape of ``noise``, and t, a scalar tensor in [0, 1], to dx/dt.
        sampler: ``euler`` (first order, one network pass a step); ``midpoint`` or ``heun`` (second order, two passes a step);
            ``dopri5`` (fifth order, six passes a step, which it chooses to keep to ``TOLERANCE``).
        steps: equal steps of the first three. ``dopri5`` only tries 1 / steps first, and then takes as many as it needs.
        watch: is told each state, the first being noise.
    """

    if sampler == "dopri5":
        return _adaptive(velocity, noise, steps, watch)
    x, grid = noise, torch.linspace(0, 1, steps + 1, device=noise.device).to(noise.dtype)
    for start, end in pairwise(grid):
        if watch:
            watch(float(start), x.detach)
        width = end - start
        slope = velocity(x, start)
        if sampler == "midpoint":
            slope = velocity(x + slope * (0.5 * width), start + 0.5 * width)
        elif sampler == "heun":
            slope = 0.5 * slope + 0.5 * velocity(x + width * slope, start + width)
        x = x + width * slope
    if watch:
        watch(1.0, lambda: x)
    return x


@torch.no_grad()
def renoise(
    velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, randoms: Randoms, *, steps: int, watch: Watch | None = None
) -> Tensor:
    """Goes from ``noise`` to the image by the levels of :func:`models.diffusion.noise_levels`, with fresh noise in each step.

    A step predicts the image, and draws the picture of the next, lower level from what a DDPM's reverse process says of it:
    Song et al. 2021, doi:10.48550/arXiv.2010.02502, at η = 1. Fresh noise mends what the network was unsure about.

    Args:
        velocity: as for :func:`integrate`.
        randoms: one source an image, of the fresh noise.
    """
    levels = noise_levels(steps).tolist()
    x = noise * (levels[0] / (1 + levels[0]))  # the picture's share of it is small
    for level, following in pairwise([*levels, 0.0]):
        time = torch.tensor(1 / (1 + level), device=x.device)
        if watch:
            watch(float(time), x.detach)
        clean = x + (1 - time) * velocity(x, time)
        left = (following / level) ** 2  # of the variance of the noise
        mean = torch.lerp(clean, x * (1 + level), left)
        fresh = seeded_noise(tuple(x.shape[1:]), randoms, x.device) if following else 0.0
        x = (mean + following * (1 - left) ** 0.5 * fresh) / (1 + following)
    if watch:
        watch(1.0, lambda: x)
    return x


def _adaptive(velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int, watch: Watch | None) -> Tensor:
    from torchdiffeq import odeint  # brings scipy, which a machine that only trains and draws may lack

    def derivative(time: Tensor, x: Tensor) -> Tensor:
        return velocity(x, time)

    if watch:
        derivative.callback_accept_step = lambda time, x, _: watch(float(time), lambda: x)  # type: ignore[attr-defined]
    ends = torch.tensor([0.0, 1.0], device=noise.device)
    # A step ends at 1: no velocity is known beyond.
    options: dict[str, Any] = {"first_step": 1 / steps, "step_t": ends[1:]}
    x = odeint(derivative, noise, ends, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5", options=options)[-1]
    if watch:
        watch(1.0, lambda: x)
    return x
