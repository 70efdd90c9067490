"""The pixel-space diffusion model with its mask concatenated (paper, section IV-C2a), on the UNet of diffusers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn
from torch.nn import functional as F

from models.base import Generator
from models.conditions import CHANNELS, Condition, encode, far_distances
from models.config import Precision, ScheduleSettings
from models.data import Randoms
from models.device import autocast
from models.diffusion import (
    SAMPLERS,
    Watch,
    denoise,
    draw_times_and_noise,
    noise_schedule,
    noisy_and_target,
    signal_and_noise,
)
from models.gaussian import GaussianDenoiser, GaussianSettings, Start, check_gaussian
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
    condition: Condition = "one_hot"
    gaussian: GaussianSettings | None = None
    """The linear denoiser whose residual is predicted; None with every other prediction."""

    def __post_init__(self) -> None:
        check_gaussian("ddpm", self.gaussian, self.condition, self.schedule.prediction)


class DDPM(Generator):
    """In pixel space: noisy image and mask in, noise (or v, or the linear denoiser's residual) out."""

    Config = DDPMNetwork
    samplers = SAMPLERS

    def __init__(self, config: DDPMNetwork):
        super().__init__()
        if len(config.attention) != len(config.widths):
            raise ValueError(
                f"ddpm.network: {len(config.widths)} widths but {len(config.attention)} attention flags; give one a level"
            )
        self.gaussian = GaussianDenoiser(config.gaussian, 1, config.gaussian.size) if config.gaussian else None
        self.unet: Any = UNet2DModel(
            in_channels=1 + CHANNELS[config.condition] + (2 if self.gaussian else 0),
            out_channels=1,
            layers_per_block=config.layers_per_block,
            block_out_channels=config.widths,
            down_block_types=tuple("AttnDownBlock2D" if attention else "DownBlock2D" for attention in config.attention),
            up_block_types=tuple("AttnUpBlock2D" if attention else "UpBlock2D" for attention in reversed(config.attention)),
            attention_head_dim=config.head_channels,
            norm_num_groups=config.norm_groups,
            act_fn="silu",
        )
        if self.gaussian:
            nn.init.zeros_(cast(Any, self.unet).conv_out.weight)  # the training starts from the linear denoiser itself
        self.config = config
        self.schedule = noise_schedule(config.schedule)
        self.timesteps = config.schedule.timesteps

    def fit_gaussian(self, images: Tensor, masks: Tensor) -> None:
        if self.gaussian:
            self.gaussian.fit(images, far_distances(encode(masks, self.config.condition)))

    def _predict(self, noisy: Tensor, t: Tensor, masks: Tensor) -> tuple[Tensor, Start | None]:
        """The network's prediction, and the linear denoiser's estimate where that is what the prediction adds to."""
        channels, start = encode(masks, self.config.condition), None
        inputs = [noisy, channels]
        if self.gaussian:
            start = self.gaussian.start(noisy, *signal_and_noise(self.schedule, t), far_distances(channels))
            inputs += [start.picture, start.mean]
        return self.unet(torch.cat(inputs, dim=1), t).sample, start

    def _estimate(self, noisy: Tensor, t: Tensor, masks: Tensor) -> Tensor:
        """What the schedule's samplers take: noise, v or the clean picture."""
        prediction, start = self._predict(noisy, t, masks)
        return start.clean(prediction) if start else prediction

    def loss(self, images: Tensor, masks: Tensor, randoms: Randoms) -> Tensor:
        t, noise = draw_times_and_noise(tuple(images.shape[1:]), self.timesteps, randoms, images.device)
        prediction, target = self.denoising_error(images, masks, t, noise)
        return F.mse_loss(prediction.float(), target)

    def denoising_error(self, images: Tensor, masks: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        noisy, target = noisy_and_target(self.schedule, images, noise, t)
        prediction, start = self._predict(noisy, t, masks)
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
        def predict(x: Tensor, t: Tensor) -> Tensor:
            with autocast(masks.device, precision):
                return guided(self._estimate, x, t, masks, guidance)

        shape = self.noise_shape(masks.shape[-1])
        images = denoise(predict, shape, seeds, self.schedule, sampler=sampler, steps=steps, device=masks.device, watch=watch)
        return images.clamp(-1, 1)
