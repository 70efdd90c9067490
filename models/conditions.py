"""What a generator of images reads of a mask: its classes, or the distances to the outlines and the place in the window."""

from typing import Literal

import torch
from torch import Tensor

from cmr.labels import CLASSES
from models.distance_maps import REGIONS, signed_distances

Condition = Literal["one_hot", "distances"]
"""``one_hot``: the mask's four channels, as in the paper. ``distances``: signed distances to the three outlines, once as far as
:data:`REACH` and once as far as :data:`NEAR`, and the two coordinates of a pixel."""

CHANNELS: dict[Condition, int] = {"one_hot": CLASSES, "distances": 2 * REGIONS + 2}
"""How many channels each has."""

REACH = 0.25
"""Share of the window's width at which distances are clipped: 40 mm, so that the surroundings know where the heart is."""
NEAR = 0.0235
"""The same, for the distances that say on which side of an outline a pixel lies: 3.75 mm."""


def encode(masks: Tensor, condition: Condition) -> Tensor:
    """The channels (B, C, H, W) float that a network reads of masks (B, 4, H, W); see :data:`Condition`.

    A mask of zeros, which means that none is given, has the distance 0 everywhere, as no mask has.
    """
    if condition == "one_hot":
        return masks
    given = masks.amax(dim=(1, 2, 3)).view(-1, 1, 1, 1)
    far = signed_distances(masks, REACH) * given
    near = (far * (REACH / NEAR)).clamp(-1, 1)
    return torch.cat([far, near, _coordinates(masks)], dim=1)


def far_distances(channels: Tensor) -> Tensor:
    """The distances clipped at :data:`REACH` (B, 3, H, W) among what :func:`encode` makes of masks as ``distances``."""
    return channels[:, :REGIONS]


def _coordinates(masks: Tensor) -> Tensor:
    """(B, 2, H, W): row and column of each pixel, in [-1, 1]."""
    rows, columns = ((2 * torch.arange(size, device=masks.device) + 1) / size - 1 for size in masks.shape[-2:])
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(masks), -1, -1, -1)
