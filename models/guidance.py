"""Classifier-free guidance on the mask (Ho and Salimans 2022, doi:10.48550/arXiv.2207.12598).

A network that was trained with some masks left out can tell what a mask adds to its prediction; guidance exaggerates that.
"No mask" is all four channels zero, which no one-hot mask is.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from models.data import Randoms


def drop_masks(masks: Tensor, rate: float, randoms: Randoms) -> Tensor:
    """Each mask of (B, 4, H, W) left out with probability ``rate``; at 0 nothing is drawn."""
    if rate == 0:
        return masks
    kept = torch.cat([torch.rand(1, generator=random) for random in randoms]) >= rate
    return masks * kept.view(-1, 1, 1, 1).to(masks)


def guided(predict: Callable[[Tensor], Tensor], masks: Tensor, scale: float) -> Tensor:
    """``predict(masks)``, or its difference to the prediction without masks exaggerated: unconditional + scale · difference.

    Args:
        predict: one network pass; maps masks (B, 4, H, W) to a prediction.
        scale: 1 is the plain prediction, in one pass; 0 ignores the mask; above 1 follows it more closely.
    """
    if scale == 1:
        return predict(masks)
    return torch.lerp(predict(torch.zeros_like(masks)), predict(masks), scale)
