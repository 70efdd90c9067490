"""The unconditional diffusion model of segmentation masks (paper, section IV-C1), on MONAI's diffusion UNet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cmr.labels import CLASSES
from models.base import MaskGenerator
from models.config import Precision, ScheduleSettings
from models.data import Randoms
from models.device import autocast
from models.diffusion import SAMPLERS, denoise, draw_times_and_noise, noise_schedule, noisy_and_target
from models.monai_networks import DiffusionModelUNet


@dataclass(frozen=True)
class MaskNetwork:
    """Shape of the UNet, and its noise schedule."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kind: Literal["one_hot"]
    widths: tuple[int, ...]
    residual_blocks: int
    attention: tuple[bool, ...]
    """One a level, finest first."""
    head_channels: int
    norm_groups: int
    schedule: ScheduleSettings


class MaskDDPM(MaskGenerator):
    """Diffusion of one-hot masks scaled to [-1, 1]; a sample's label is its largest channel."""

    Config = MaskNetwork
    samplers = SAMPLERS

    def __init__(self, config: MaskNetwork):
        super().__init__()
        if len(config.attention) != len(config.widths):
            raise ValueError(
                f"masks.network: {len(config.widths)} widths but {len(config.attention)} attention flags; give one a level"
            )
        self.unet = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=CLASSES,
            out_channels=CLASSES,
            channels=config.widths,
            attention_levels=config.attention,
            num_res_blocks=config.residual_blocks,
            num_head_channels=config.head_channels,
            norm_num_groups=config.norm_groups,
            use_flash_attention=True,  # at the paper's 32 × 32 places the matrix of all pairs takes most of a pass
        )
        self.config = config
        self.schedule = noise_schedule(config.schedule)
        self.timesteps = config.schedule.timesteps

    def noise_shape(self, size: int) -> tuple[int, ...]:
        return (CLASSES, size, size)

    def loss(self, masks: Tensor, randoms: Randoms) -> Tensor:
        t, noise = draw_times_and_noise(tuple(masks.shape[1:]), self.timesteps, randoms, masks.device)
        prediction, target = self.denoising_error(masks, t, noise)
        return F.mse_loss(prediction.float(), target)

    def denoising_error(self, masks: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        noisy, target = noisy_and_target(self.schedule, 2 * masks - 1, noise, t)
        return self.unet(noisy, t), target

    @torch.no_grad()
    def sample(self, size: int, seeds: Sequence[int], *, sampler: str, steps: int, precision: Precision = "float32") -> Tensor:
        device = next(self.parameters()).device

        def predict(x: Tensor, t: Tensor) -> Tensor:
            with autocast(device, precision):
                return self.unet(x, t)

        channels = denoise(predict, self.noise_shape(size), seeds, self.schedule, sampler=sampler, steps=steps, device=device)
        return channels.argmax(dim=1).to(torch.uint8)
