"""Masks left out in training, and what sampling makes of it."""

import torch

from models.data import one_hot
from models.guidance import drop_masks, guided
from tests.models.conftest import randoms


def test_masks_are_left_out_at_the_rate_and_whole():
    masks = one_hot(torch.randint(0, 4, (2000, 2, 2)))
    dropped = drop_masks(masks, 0.2, randoms(2000))
    gone = (dropped == 0).flatten(1).all(1)
    assert 0.15 < gone.float().mean() < 0.25
    assert torch.equal(dropped[~gone], masks[~gone])


def test_without_a_rate_no_number_is_drawn():
    sources = randoms(3)
    masks = one_hot(torch.randint(0, 4, (3, 2, 2)))
    assert drop_masks(masks, 0.0, sources) is masks
    assert torch.equal(torch.rand(1, generator=sources[0]), torch.rand(1, generator=randoms(3)[0]))


def test_guidance_extrapolates_from_the_prediction_without_a_mask():
    seen = []

    def predict(masks):
        seen.append(masks)
        return masks.sum(dim=(1, 2, 3))

    masks = one_hot(torch.zeros(1, 2, 2, dtype=torch.long))  # predicts 4 with its mask, 0 without
    assert [guided(predict, masks, scale).item() for scale in (0.0, 0.5, 1.0, 3.0)] == [0.0, 2.0, 4.0, 12.0]
    assert len(seen) == 7  # one pass at scale 1, two elsewhere
