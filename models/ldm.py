"""Diffusion in the latents of a VQ-VAE, its mask concatenated and through SPADE (paper, section IV-C2b).

Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", doi:10.48550/arXiv.2112.10752.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
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
from models.spade_unet import spade_unet
from models.vqvae import VQVAE, VQVAENetwork


@dataclass(frozen=True)
class LDMNetwork:
    """Shape of the UNet on latents, its noise schedule, and the autoencoder that makes the latents."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    widths: tuple[int, ...]
    residual_blocks: int
    attention: tuple[bool, ...]
    """One a level, finest first; the decoder mirrors it."""
    head_channels: int
    norm_groups: int
    spade_channels: int
    """Hidden channels between the mask and the scale and shift that are read off it."""
    schedule: ScheduleSettings
    autoencoder: VQVAENetwork | None = None
    """Taken from ``ldm.autoencoder.network``, so that a checkpoint is complete in itself."""
    condition: Condition = "one_hot"
    gaussian: GaussianSettings | None = None
    """The linear denoiser of the latents whose residual is predicted; None with every other prediction."""

    def __post_init__(self) -> None:
        if len(self.attention) != len(self.widths):
            raise ValueError(
                f"ldm.network: {len(self.widths)} widths but {len(self.attention)} attention flags; give one a level"
            )
        check_gaussian("ldm", self.gaussian, self.condition, self.schedule.prediction)


class LDM(Generator):
    """In latent space: noisy latents and mask in, noise (or v) out. The mask is averaged over each cell of the latents, so
    that a border within a cell is still told by how much of the cell lies on either side."""

    Config = LDMNetwork
    samplers = SAMPLERS
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: LDMNetwork):
        super().__init__()
        if config.autoencoder is None:
            raise ValueError("ldm.network: no autoencoder; set ldm.autoencoder.network, whose latents are to be drawn")
        self.config = config
        self.timesteps = config.schedule.timesteps
        self.schedule = noise_schedule(config.schedule, bounded=False)
        self.autoencoder = VQVAE(config.autoencoder).eval().requires_grad_(False)
        self.channels = config.autoencoder.latent_channels
        self.factor = config.autoencoder.factor
        self.register_buffer("latent_mean", torch.zeros(self.channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(self.channels, 1, 1))
        self.gaussian = (
            GaussianDenoiser(config.gaussian, self.channels, config.gaussian.size // self.factor) if config.gaussian else None
        )
        self.unet = spade_unet(
            self.channels,
            2 * self.channels if self.gaussian else 0,
            CHANNELS[config.condition],
            config.widths,
            config.residual_blocks,
            config.attention,
            config.head_channels,
            config.norm_groups,
            config.spade_channels,
        )

    def train(self, mode: bool = True) -> "LDM":
        super().train(mode)
        self.autoencoder.eval()  # frozen, whatever happens to the rest
        return self

    @torch.no_grad()
    def adopt(self, autoencoder: nn.Module, images: Tensor) -> None:
        self.autoencoder.load_state_dict(autoencoder.state_dict())
        latents = torch.cat([self.autoencoder.encode(block.to(self.latent_mean.device)) for block in images.split(64)])
        deviation, mean = torch.std_mean(latents, dim=(0, 2, 3))
        self.latent_mean.copy_(mean.view(-1, 1, 1))
        # The codebook is about 1 wide: a channel that varies less than this tells no entry from another, and stays small.
        self.latent_std.copy_(deviation.clamp(min=1e-3).view(-1, 1, 1))

    def noise_shape(self, size: int) -> tuple[int, ...]:
        cell = self.factor * 2 ** (len(self.config.widths) - 1)
        if size % cell:
            raise ValueError(
                f"slices.size is {size}: it must be a multiple of {cell}, as the autoencoder's strides shrink a slice "
                f"{self.factor} times and the UNet of {len(self.config.widths)} levels {cell // self.factor} times more"
            )
        return (self.channels, size // self.factor, size // self.factor)

    def latents(self, images: Tensor) -> Tensor:
        """What is diffused: zero mean and unit variance in each channel over the images that :meth:`adopt` was given."""
        with torch.no_grad():
            return (self.autoencoder.encode(images) - self.latent_mean) / self.latent_std

    @torch.no_grad()
    def fit_gaussian(self, images: Tensor, masks: Tensor) -> None:
        if self.gaussian:
            latents = torch.cat([self.latents(block) for block in images.split(64)])
            self.gaussian.fit(latents, far_distances(encode(masks, self.config.condition)))

    def _predict(self, noisy: Tensor, t: Tensor, masks: Tensor) -> tuple[Tensor, Start | None]:
        """The network's prediction, and the linear denoiser's estimate where that is what the prediction adds to."""
        channels, start = encode(masks, self.config.condition), None
        averaged = F.interpolate(channels, noisy.shape[-2:], mode="area")
        inputs = [noisy, averaged]
        if self.gaussian:
            start = self.gaussian.start(noisy, *signal_and_noise(self.schedule, t), far_distances(channels))
            inputs += [start.picture, start.mean]
        return self.unet(torch.cat(inputs, dim=1), t, averaged), start

    def _estimate(self, noisy: Tensor, t: Tensor, masks: Tensor) -> Tensor:
        """What the schedule's samplers take: noise, v or the clean picture."""
        prediction, start = self._predict(noisy, t, masks)
        return start.clean(prediction) if start else prediction

    def loss(self, images: Tensor, masks: Tensor, randoms: Randoms) -> Tensor:
        t, noise = draw_times_and_noise(self.noise_shape(images.shape[-1]), self.timesteps, randoms, images.device)
        prediction, target = self.denoising_error(images, masks, t, noise)
        return F.mse_loss(prediction.float(), target)

    def denoising_error(self, images: Tensor, masks: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.latents(images)
        noisy, target = noisy_and_target(self.schedule, latents, noise, t)
        prediction, start = self._predict(noisy, t, masks)
        return prediction, start.residual(latents) if start else target

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
        device = masks.device

        def predict(x: Tensor, t: Tensor) -> Tensor:
            with autocast(device, precision):
                return guided(self._estimate, x, t, masks, guidance)

        def images(latents: Tensor) -> Tensor:
            with autocast(device, precision):
                return self.autoencoder.decode(latents * self.latent_std + self.latent_mean)

        tell = None if watch is None else lambda done, state: watch(done, lambda: images(state()))
        shape = self.noise_shape(masks.shape[-1])
        return images(denoise(predict, shape, seeds, self.schedule, sampler=sampler, steps=steps, device=device, watch=tell))
