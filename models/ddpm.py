"""The pixel-space diffusion model with its mask concatenated (paper, section IV-C2a), on the UNet of diffusers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import UNet2DModel
from torch import Tensor
from torch.nn import functional as F

from cmr.labels import CLASSES
from models.base import Generator
from models.config import Precision, ScheduleSettings
from models.data import Randoms
from models.device import autocast
from models.diffusion import SAMPLERS, Watch, denoise, draw_times_and_noise, noise_schedule, noisy_and_target
from models.guidance import guided


@dataclass(frozen=True)
class DDPMNetwork:
    """Shape of the UNet, and its noise schedule."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    widths: tuple[int, ...]
    layers_per_block: int
    attention: tuple[bool, ...]
    """One a level, finest first; the decoder mirrors it."""
    head_channels: int
    norm_groups: int
    schedule: ScheduleSettings


class DDPM(Generator):
    """In pixel space: noisy image and one-hot mask in, noise (or v) out."""

    Config = DDPMNetwork
    samplers = SAMPLERS

    def __init__(self, config: DDPMNetwork):
        super().__init__()
        if len(config.attention) != len(config.widths):
            raise ValueError(
                f"ddpm.network: {len(config.widths)} widths but {len(config.attention)} attention flags; give one a level"
            )
        self.unet: Any = UNet2DModel(
            in_channels=1 + CLASSES,
            out_channels=1,
            layers_per_block=config.layers_per_block,
            block_out_channels=config.widths,
            down_block_types=tuple("AttnDownBlock2D" if attention else "DownBlock2D" for attention in config.attention),
            up_block_types=tuple("AttnUpBlock2D" if attention else "UpBlock2D" for attention in reversed(config.attention)),
            attention_head_dim=config.head_channels,
            norm_num_groups=config.norm_groups,
            act_fn="silu",
        )
        self.config = config
        self.schedule = noise_schedule(config.schedule)
        self.timesteps = config.schedule.timesteps

    def _predict(self, noisy: Tensor, t: Tensor, masks: Tensor) -> Tensor:
        return self.unet(torch.cat([noisy, masks], dim=1), t).sample

    def loss(self, images: Tensor, masks: Tensor, randoms: Randoms) -> Tensor:
        t, noise = draw_times_and_noise(tuple(images.shape[1:]), self.timesteps, randoms, images.device)
        prediction, target = self.denoising_error(images, masks, t, noise)
        return F.mse_loss(prediction.float(), target)

    def denoising_error(self, images: Tensor, masks: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        noisy, target = noisy_and_target(self.schedule, images, noise, t)
        return self._predict(noisy, t, masks), target

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
        def predict(x: Tensor, t: Tensor) -> Tensor:
            with autocast(masks.device, precision):
                return guided(self._predict, x, t, masks, guidance)

        shape = self.noise_shape(masks.shape[-1])
        images = denoise(predict, shape, seeds, self.schedule, sampler=sampler, steps=steps, device=masks.device, watch=watch)
        return images.clamp(-1, 1)
