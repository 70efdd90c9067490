"""Training batches from arrays held in memory: the same batch for the same seed and step, on every machine.

Whatever is random about an image (its augmentation, time and noise) comes from a generator of its own. A batch may therefore
be cut into micro batches, or shared among workers, and the same numbers are drawn.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cmr.labels import CLASSES
from models.config import AugmentSettings


def one_hot(labels: Tensor, out: Tensor | None = None) -> Tensor:
    """(B, H, W) labels 0 to 3, of any type, to (B, 4, H, W) float one-hot, in ``out`` where there is one."""
    classes = torch.arange(CLASSES, dtype=labels.dtype, device=labels.device)[:, None, None]
    # Straight into what is asked for: torch's one_hot is of integers of 8 bytes, and in another order.
    hot = torch.empty(len(labels), CLASSES, *labels.shape[1:], device=labels.device) if out is None else out
    return torch.eq(labels[:, None], classes, out=hot)


Randoms = Sequence[torch.Generator]
"""One source of random numbers an image of the batch, on the CPU."""


def step_seed(seed: int, step: int) -> int:
    """A seed of its own for each step, so that a resumed run draws what an uninterrupted one would have drawn."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def step_randoms(seed: int, step: int, count: int) -> list[torch.Generator]:
    """The sources of the ``count`` images of one step."""
    seeds = np.random.SeedSequence([seed, step]).generate_state(count, np.uint64)
    return [torch.Generator().manual_seed(int(value >> np.uint64(1))) for value in seeds]


_PORTION = 16
"""Slices that are moved at a time: what they need stays in the processor's cache."""


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
        if self.augment is None:
            return None if self.images is None else self.images[rows].float()[:, None], one_hot(self.masks[rows])
        size = self.masks.shape[1:]
        maps = _random_affine(self.augment, randoms)
        images = None if self.images is None else torch.empty(len(rows), 1, *size)
        masks = torch.empty(len(rows), CLASSES, *size)
        for start in range(0, len(rows), _PORTION):
            part = slice(start, start + _PORTION)
            grid = _grid(maps[part], *size)
            one_hot(_moved(self.masks.index_select(0, rows[part]), grid, "nearest")[:, 0], out=masks[part])
            if images is not None and self.images is not None:
                images[part] = _moved(self.images.index_select(0, rows[part]), grid, "bilinear")
        return images, masks


def _moved(pictures: Tensor, grid: Tensor, mode: str) -> Tensor:
    """(B, H, W) to (B, 1, H, W) float."""
    # Mirrored beyond the border, image and mask alike: no corner is left without tissue that the mask does not know of.
    return F.grid_sample(pictures[:, None].float(), grid, mode=mode, padding_mode="reflection", align_corners=False)


def _grid(maps: Tensor, height: int, width: int) -> Tensor:
    """What ``affine_grid`` gives, (B, H, W, 2), as the sum of a term a row and a term a column: no product of matrices."""
    down = maps[:, :, 1, None] * _centres(height)
    across = maps[:, :, 0, None] * _centres(width) + maps[:, :, 2:]
    # All x, then all y: a sum and a sampling of numbers in a row take a quarter of the time of every other one's.
    return (down[..., None] + across[:, :, None]).movedim(1, -1)


@lru_cache
def _centres(size: int) -> Tensor:
    """(size,) centres of a line's pixels, within [-1, 1]."""
    return (2 * torch.arange(size) + 1) / size - 1


def _random_affine(settings: AugmentSettings, randoms: Randoms) -> Tensor:
    """(B, 2, 3) maps from the new to the old picture, in the [-1, 1] coordinates of ``grid_sample``."""
    draws = torch.stack([torch.rand(6, generator=random) for random in randoms]).numpy()
    angle, scale, right, down = (2 * draws[:, :4] - 1).T
    angle, scale = np.deg2rad(angle * settings.rotation), 1 + scale * settings.scale
    mirror = (
        np.where(draws[:, 4:] < 0.5, np.float32(-1), np.float32(1)) if settings.flip else np.ones((len(draws), 2), np.float32)
    )
    cos, sin, shift = np.cos(angle) / scale, np.sin(angle) / scale, 2 * settings.shift
    maps = [cos * mirror[:, 0], -sin * mirror[:, 1], shift * right, sin * mirror[:, 0], cos * mirror[:, 1], shift * down]
    return torch.from_numpy(np.stack(maps, axis=1).reshape(-1, 2, 3))
