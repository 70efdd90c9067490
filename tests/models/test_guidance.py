"""Masks left out in training, and what sampling makes of it."""

import pytest
import torch

from models.data import one_hot
from models.guidance import TOGETHER, drop_masks, guided
from tests.models.conftest import randoms
from tests.models.test_train import networks


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


@pytest.mark.parametrize(("count", "passes"), [(1, [2]), (TOGETHER, [2 * TOGETHER]), (TOGETHER + 1, [TOGETHER + 1] * 2)])
def test_guidance_extrapolates_from_the_prediction_without_a_mask(count, passes):
    seen = []

    def predict(x, t, masks):
        seen.append(len(x))
        return x * t.view(-1, 1) + masks.sum(dim=(1, 2, 3)).view(-1, 1)

    masks = one_hot(torch.zeros(count, 2, 2, dtype=torch.long))  # adds 4
    x, t = torch.rand(count, 3), torch.rand(count)
    for scale in (0.0, 0.5, 1.0, 3.0):
        seen.clear()
        expected = x * t.view(-1, 1) + 4 * scale
        assert torch.allclose(guided(predict, x, t, masks, scale), expected)
        assert seen == ([count] if scale == 1 else passes)


@pytest.mark.parametrize("count", [2, TOGETHER + 1])
def test_guidance_rounds_nothing_that_the_network_did_not(count):
    """Two predictions in bfloat16 that differ in their last digit, and a scale whose result has more digits."""
    one, other = torch.tensor(1.0, dtype=torch.bfloat16), torch.tensor(1.0078125, dtype=torch.bfloat16)

    def predict(x, t, masks):
        return torch.where(masks.any(dim=1).flatten(1).any(1), other, one)

    masks = one_hot(torch.zeros(count, 2, 2, dtype=torch.long))
    drawn = guided(predict, torch.zeros(count), torch.zeros(count), masks, 1.3)
    assert drawn.dtype == torch.float32
    assert torch.allclose(drawn, torch.tensor(1.0 + 1.3 * 0.0078125), atol=1e-6)


@pytest.mark.parametrize("name", ["ddpm", "ldm", "fm"])
def test_a_guided_image_does_not_depend_on_how_many_are_drawn(name, ddpm_network, mask_network):
    """One image, some in a pass with and without masks, and more than such a pass takes."""
    torch.manual_seed(0)
    network = networks(ddpm_network, mask_network)[name][0]().eval()
    for parameter in network.parameters():  # layers that begin at zero would hide the masks
        torch.nn.init.normal_(parameter, std=0.15)
    masks = one_hot(torch.randint(0, 4, (TOGETHER + 2, 16, 16), generator=torch.Generator().manual_seed(0)))
    how = {"sampler": "euler" if name == "fm" else "ddim", "steps": 3}
    plain, *drawn = (
        network.sample(masks[:count], list(range(count)), guidance=scale, **how)
        for count, scale in ((3, 1.0), (1, 3.0), (3, 3.0), (TOGETHER + 2, 3.0))
    )
    assert (drawn[1] - plain).abs().max() > 0.01
    for some in drawn[:2]:
        assert torch.allclose(some, drawn[2][: len(some)], atol=1e-3)
