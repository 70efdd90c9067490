"""Training batches from arrays held in memory: the same batch for the same seed and step, on every machine.

Whatever is random about an image (its augmentation, time and noise) comes from a generator of its own. A batch may therefore
be cut into micro batches, or shared among workers, and the same numbers are drawn.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cmr.labels import CLASSES
from models.config import AugmentSettings


def one_hot(labels: Tensor) -> Tensor:
    """(B, H, W) integer labels to (B, 4, H, W) float one-hot."""
    return F.one_hot(labels.long(), CLASSES).movedim(-1, 1).float()


Randoms = Sequence[torch.Generator]
"""One source of random numbers an image of the batch, on the CPU."""


def step_seed(seed: int, step: int) -> int:
    """A seed of its own for each step, so that a resumed run draws what an uninterrupted one would have drawn."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def step_randoms(seed: int, step: int, count: int) -> list[torch.Generator]:
    """The sources of the ``count`` images of one step."""
    seeds = np.random.SeedSequence([seed, step]).generate_state(count, np.uint64)
    return [torch.Generator().manual_seed(int(value >> np.uint64(1))) for value in seeds]


class SliceBatches:
    """Draws augmented batches without replacement within an epoch.

    Args:
        images: (N, H, W) in [-1, 1], or None where only masks are trained on.
        masks: (N, H, W) labels.
        batch: slices a step; the last, short batch of an epoch is left out unless it is the only one.
    """

    def __init__(self, images: NDArray | None, masks: NDArray, *, batch: int, augment: AugmentSettings | None, seed: int):
        self.images = None if images is None else torch.from_numpy(np.array(images, dtype=np.float16))
        self.masks = torch.from_numpy(np.array(masks, dtype=np.uint8))
        self.batch = min(batch, len(self.masks))
        self.augment = augment
        self.seed = seed
        self.steps_per_epoch = len(self.masks) // self.batch
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def __call__(self, step: int, randoms: Randoms) -> tuple[Tensor | None, Tensor]:
        """Images (B, 1, H, W), or None, and one-hot masks (B, 4, H, W) of one optimisation step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            shuffle = torch.Generator().manual_seed(step_seed(self.seed, -1 - epoch & 0xFFFFFFFF))
            self._epoch, self._order = epoch, torch.randperm(len(self.masks), generator=shuffle)
        rows = self._order[place * self.batch : (place + 1) * self.batch]
        images = None if self.images is None else self.images[rows].float()[:, None]
        masks = self.masks[rows]
        if self.augment is not None:
            images, masks = _augmented(images, masks, self.augment, randoms)
        return images, one_hot(masks)


def _augmented(
    images: Tensor | None, masks: Tensor, settings: AugmentSettings, randoms: Randoms
) -> tuple[Tensor | None, Tensor]:
    grid = F.affine_grid(_random_affine(settings, randoms), [len(masks), 1, *masks.shape[-2:]], align_corners=False)
    # Mirrored beyond the border, image and mask alike: no corner is left without tissue that the mask does not know of.
    moved = F.grid_sample(masks[:, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False)
    if images is not None:
        images = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return images, moved[:, 0].to(torch.uint8)


def _random_affine(settings: AugmentSettings, randoms: Randoms) -> Tensor:
    """(B, 2, 3) maps from the new to the old picture, in the [-1, 1] coordinates of ``grid_sample``."""
    draws = torch.stack([torch.rand(6, generator=random) for random in randoms])
    angle, scale, shift_x, shift_y = (2 * draws[:, :4] - 1).unbind(1)
    angle = torch.deg2rad(angle * settings.rotation)
    scale = 1 + scale * settings.scale
    mirror = torch.where(draws[:, 4:] < 0.5, -1.0, 1.0) if settings.flip else torch.ones(len(draws), 2)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = [
        cos * mirror[:, 0],
        -sin * mirror[:, 1],
        2 * settings.shift * shift_x,
        sin * mirror[:, 0],
        cos * mirror[:, 1],
        2 * settings.shift * shift_y,
    ]
    return torch.stack(rows, dim=1).view(-1, 2, 3)
