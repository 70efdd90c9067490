"""Masks as signed distances on a coarse grid, by flow matching.

A label map is a picture of edges, which a small network draws ragged; the distances to its outlines are smooth, need few cells
and give closed outlines back. Lipman et al. 2023, doi:10.48550/arXiv.2210.02747 (the path from noise); Li and He 2025,
doi:10.48550/arXiv.2511.13720 (a network that predicts the data needs no capacity for the noise).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cmr.labels import LV, MYO, RV
from models.base import MaskGenerator
from models.config import Precision
from models.data import Randoms
from models.device import autocast, weights_cast_once
from models.diffusion import draw_times_and_noise, seeded_noise
from models.distance_maps import REGIONS, signed_distances
from models.monai_networks import DiffusionModelUNet

FRESH = {"ancestral": 1.0, "mild": 0.8, "euler": 0.0}
"""Fresh noise of a step, in units of that which a step of a DDPM has: η of Song et al. 2021, doi:10.48550/arXiv.2010.02502."""
LEAST_NOISE = 0.05  # below this share of noise, the loss gives a time no more weight


@dataclass(frozen=True)
class DistanceNetwork:
    """Shape of the UNet, and of the maps that it works on."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kind: Literal["distances"]
    widths: tuple[int, ...]
    residual_blocks: int
    attention: tuple[bool, ...]
    """One a level, finest first."""
    head_channels: int
    norm_groups: int
    grid: int
    """Cells along a side of the maps."""
    patch: int
    """Cells along a side of the squares that the network takes as one place, their values as channels; 1: every cell."""
    reach: float
    """Distances are clipped at this share of the image's width."""
    timesteps: int
    """Number of times in [0, 1] that the network is trained at, each with its embedding."""

    def __post_init__(self) -> None:
        if len(self.attention) != len(self.widths):
            raise ValueError(f"{len(self.widths)} widths but {len(self.attention)} attention flags; give one a level")
        halved = self.patch * 2 ** (len(self.widths) - 1)
        if self.patch < 1 or self.grid < 1 or self.grid % halved:
            raise ValueError(
                f"grid must be a multiple of patch · 2^(levels - 1), here {halved}; "
                f"found grid {self.grid} and patch {self.patch}"
            )
        if not 0 < self.reach <= 1:
            raise ValueError(f"reach must lie in (0, 1], found {self.reach}")


def labels(maps: Tensor, size: int) -> Tensor:
    """(B, size, size) uint8 label maps of coarse distances (B, 3, G, G)."""
    lv, heart, rv = F.interpolate(maps.float(), (size, size), mode="bicubic", align_corners=False).unbind(dim=1)
    outside = torch.where(rv > 0, RV, 0)
    return torch.where(heart > 0, torch.where(lv > 0, LV, MYO), outside).to(torch.uint8)


class MaskFlow(MaskGenerator):
    """Learns what distances lie at the end, time 1, of the straight path from noise at time 0.

    The integer times of the other models, 0 next to the mask and T - 1 at noise, are the flow's 1 - (t + 1) / T.
    """

    Config = DistanceNetwork
    samplers = tuple(FRESH)

    def __init__(self, config: DistanceNetwork):
        super().__init__()
        channels = REGIONS * config.patch**2
        self.unet = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=channels,
            out_channels=channels,
            channels=config.widths,
            attention_levels=config.attention,
            num_res_blocks=config.residual_blocks,
            num_head_channels=config.head_channels,
            norm_num_groups=config.norm_groups,
            use_flash_attention=True,
        )
        self.config = config
        self.timesteps = config.timesteps

    def noise_shape(self, size: int) -> tuple[int, ...]:
        return (REGIONS, self.config.grid, self.config.grid)

    def maps(self, masks: Tensor) -> Tensor:
        """The coarse distances (B, 3, G, G) of one-hot masks (B, 4, H, W)."""
        cells = (self.config.grid, self.config.grid)
        return F.interpolate(signed_distances(masks, self.config.reach), cells, mode="bilinear", align_corners=False)

    def _clean(self, x: Tensor, t: Tensor) -> Tensor:
        patch = self.config.patch
        return F.pixel_shuffle(self.unet(F.pixel_unshuffle(x, patch), t), patch)

    def loss(self, masks: Tensor, randoms: Randoms) -> Tensor:
        """The mean square of the velocity's error, which is the prediction's over the share of noise."""
        t, noise = draw_times_and_noise(self.noise_shape(masks.shape[-1]), self.timesteps, randoms, masks.device)
        prediction, target = self.denoising_error(masks, t, noise)
        share = ((t + 1) / self.timesteps).clamp(min=LEAST_NOISE)
        return ((prediction.float() - target).square().mean(dim=(1, 2, 3)) / share**2).mean()

    def denoising_error(self, masks: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(masks)
        share = ((t + 1) / self.timesteps).view(-1, 1, 1, 1)
        return self._clean(torch.lerp(maps, noise, share), t), maps

    @torch.no_grad()
    def sample(self, size: int, seeds: Sequence[int], *, sampler: str, steps: int, precision: Precision = "float32") -> Tensor:
        """As :meth:`MaskGenerator.sample`.

        Args:
            sampler: each step predicts the mask, and goes back to the next, lower level of noise: with the noise that was
                there (``euler``), with the share of fresh noise that a step of a DDPM has (``ancestral``), or with less of it
                (``mild``). Fresh noise mends what the network was unsure about; much of it lets what is rare die out.
        """
        device, shape = next(self.parameters()).device, self.noise_shape(size)
        randoms = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        x = seeded_noise(shape, randoms, device)
        with weights_cast_once(device):
            for step in range(steps):
                now, then = 1 - step / steps, 1 - (step + 1) / steps  # shares of noise
                t = torch.full((len(x),), max(0, round(now * self.timesteps) - 1), device=device)
                with autocast(device, precision):
                    clean = self._clean(x, t)
                clean = clean.float()
                noise = (x - (1 - now) * clean) / now
                if FRESH[sampler]:
                    fresh = FRESH[sampler] ** 2 * (1 - (then * (1 - now) / (now * (1 - then))) ** 2)
                    noise = math.sqrt(1 - fresh) * noise + math.sqrt(fresh) * seeded_noise(shape, randoms, device)
                x = (1 - then) * clean + then * noise
        return labels(x, size)
