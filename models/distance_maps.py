"""Signed distances to the outlines of a mask."""

import math

import torch
from torch import Tensor

from cmr.labels import LV, MYO, RV

REGIONS = 3  # LV, LV with myocardium, RV: one map of distances each


def signed_distances(masks: Tensor, reach: float) -> Tensor:
    """Distances to the outlines of LV, of LV with myocardium, and of the RV: positive inside, 1 at ``reach`` and beyond.

    The RV's are to its free wall alone, and go on below LV and myocardium, where they say whether the RV or the background is
    nearer. So the myocardium's outline is what cuts the RV, whose tips stay sharp at any resolution.

    Args:
        masks: (B, 4, H, W) one-hot.
        reach: share of the width.

    Returns:
        (B, 3, H, W) in [-1, 1]; at most 0 throughout where a structure is absent.
    """
    lv, myocardium, rv = (masks[:, label] > 0.5 for label in (LV, MYO, RV))
    heart = lv | myocardium
    others = torch.stack([~lv, ~heart, ~(heart | rv)], dim=1)
    regions = torch.stack([lv, heart, rv], dim=1)
    pixels = reach * masks.shape[-1]
    inwards, outwards = (_distance_to(region, math.ceil(pixels) + 1) for region in (others, regions))
    signed = inwards - outwards - 0.5 * (regions.float() - others.float())  # an outline runs between two pixels
    return (signed / pixels).clamp(-1, 1)


def _distance_to(region: Tensor, most: int) -> Tensor:
    """Distance of each pixel of (B, C, H, W) to the nearest one of the region, exact up to ``most`` and no less beyond."""
    far = float(most**2 + 1)
    squared = torch.where(region, 0.0, far)
    for axis in (2, 3):  # the squares of rows and columns add up, so the nearest is found along one axis after the other
        size, nearest = squared.shape[axis], squared.clone()
        for step in range(1, min(most, size - 1) + 1):
            ahead, behind = squared.narrow(axis, step, size - step), squared.narrow(axis, 0, size - step)
            for part, other in (
                (nearest.narrow(axis, 0, size - step), ahead),
                (nearest.narrow(axis, step, size - step), behind),
            ):
                torch.minimum(part, other + step**2, out=part)
        squared = nearest
    return squared.sqrt()
