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

from cmr.labels import CLASSES
from models.base import Generator
from models.config import Precision
from models.data import Randoms
from models.device import autocast, weights_cast_once
from models.diffusion import Watch, draw_times_and_noise, seeded_noise
from models.guidance import guided
from models.monai_networks import ControlNet, DiffusionModelUNet

SOLVERS = ("euler", "midpoint", "heun", "dopri5")

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

    def __post_init__(self) -> None:
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
    samplers = SOLVERS

    def __init__(self, config: FlowNetwork):
        super().__init__()
        shape: dict[str, Any] = {
            "spatial_dims": 2,
            "in_channels": 1,
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
            conditioning_embedding_in_channels=CLASSES,
            # One width: each further one would halve the embedding, and it has to fit the image.
            conditioning_embedding_num_channels=(config.mask_embedding,),
            **shape,
        )
        self.controlnet.load_state_dict(self.unet.state_dict(), strict=False)  # all that the two have in common
        self.config = config
        self.timesteps = config.timesteps

    def _velocity(self, x: Tensor, t: Tensor, masks: Tensor) -> Tensor:
        encoder, bottleneck = self.controlnet(x, t, masks)
        return self.unet(x, t, down_block_additional_residuals=encoder, mid_block_additional_residual=bottleneck)

    def _nearest(self, time: Tensor) -> Tensor:
        """The integer time that is nearest to a time in [0, 1] of the flow."""
        return (self.timesteps * (1 - time) - 1).round().long().clamp(min=0)

    def loss(self, images: Tensor, masks: Tensor, randoms: Randoms) -> Tensor:
        t, noise = draw_times_and_noise(tuple(images.shape[1:]), self.timesteps, randoms, images.device)
        prediction, target = self.denoising_error(images, masks, t, noise)
        return F.mse_loss(prediction.float(), target)

    def denoising_error(self, images: Tensor, masks: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        x, target = path(images, noise, 1 - (t + 1) / self.timesteps)
        return self._velocity(x, t, masks), target

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
        """As :meth:`Generator.sample`; for ``sampler`` and ``steps`` see :func:`integrate`.

        ``dopri5`` solves image after image, so that the steps of one do not depend on its neighbours; ``watch`` is then told
        of each in turn.
        """

        def solve(noise: Tensor, masks: Tensor) -> Tensor:
            def velocity(x: Tensor, time: Tensor) -> Tensor:
                t = self._nearest(time).expand(len(x))
                with autocast(x.device, precision):
                    return guided(self._velocity, x, t, masks, guidance).float()

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
