"""What networks are validated by while they train: as many slices at a time, and in the precision, as the training has them.

The training loop casts the weights once for a whole validation, so many small passes cost little more than one large one.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.base import Generator, MaskGenerator
from models.config import CheckSettings, TrainSettings
from models.data import step_randoms
from models.device import autocast

if TYPE_CHECKING:
    from models.vqvae import VQVAE


def held_loss(network: MaskGenerator, masks: Tensor, seed: int, settings: TrainSettings) -> float:
    """The mean loss on one-hot masks (N, 4, H, W), each with a time and noise of its own, the same in every validation."""
    device, randoms = next(network.parameters()).device, step_randoms(seed, 0, len(masks))
    size, total = settings.micro_batch or settings.batch, 0.0
    for start in range(0, len(masks), size):
        part = masks[start : start + size].to(device)
        with autocast(device, settings.precision):
            total += float(network.loss(part, randoms[start : start + size])) * len(part)
    return total / len(masks)


def drawn_images(
    network: Generator, masks: Tensor, seeds: Sequence[int], how: CheckSettings, settings: TrainSettings
) -> Tensor:
    """An image (N, 1, H, W) float32, on the CPU, for each one-hot mask (N, 4, H, W); all at once without a ``micro_batch``."""
    device, size = next(network.parameters()).device, settings.micro_batch or len(masks)
    parts = [
        network.sample(
            masks[start : start + size].to(device),
            seeds[start : start + size],
            sampler=how.sampler,
            steps=how.steps,
            precision=settings.precision,
        )
        for start in range(0, len(masks), size)
    ]
    return torch.cat([part.float().cpu() for part in parts])


@torch.no_grad()
def reconstructed(network: "VQVAE", images: Tensor, settings: TrainSettings) -> Tensor:
    """Images (N, 1, H, W) as they come back from their latents, float32 on the CPU."""
    device = next(network.parameters()).device
    with autocast(device, settings.precision):
        parts = images.split(settings.micro_batch or settings.batch)
        return torch.cat([network.reconstruct(part.to(device)).float().cpu() for part in parts])
