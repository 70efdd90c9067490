"""Masks as signed distances: there and back, the flow and its samplers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch.nn import functional as F

from cmr.labels import LV, MYO, RV
from evaluation.overlap import pairwise_dice
from evaluation.validity import check_anatomy
from models.data import one_hot, step_randoms
from models.diffusion import draw_times_and_noise
from models.distances import LEAST_NOISE, DistanceNetwork, MaskFlow, labels, signed_distances
from tests.evaluation.hearts import hearts
from tests.models.conftest import DISTANCES

MASKS = hearts(12, seed=1, size=64)
REACH = 0.125


def hot(masks: np.ndarray) -> torch.Tensor:
    return one_hot(torch.from_numpy(masks))


def network(config: DistanceNetwork = DISTANCES) -> MaskFlow:
    """As after some training: no weight is zero any more."""
    torch.manual_seed(0)
    made = MaskFlow(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return made


def test_distances_are_those_of_scipy():
    found = signed_distances(hot(MASKS), REACH).numpy() * REACH * 64
    for mask, (lv, heart, rv) in zip(MASKS, found, strict=True):
        for region, ours in ((mask == LV, lv), ((mask == LV) | (mask == MYO), heart)):
            expected = np.where(region, distance_transform_edt(region) - 0.5, 0.5 - distance_transform_edt(~region))
            assert np.abs(ours - np.clip(expected, -8, 8)).max() < 1e-5
        to_rv, to_background = distance_transform_edt(mask != RV), distance_transform_edt(mask != 0)
        assert np.abs(rv - np.clip(to_background - 0.5, -8, 8))[mask == RV].max() < 1e-5
        assert np.abs(rv - np.clip(0.5 - to_rv, -8, 8))[mask == 0].max() < 1e-5
        near = ((mask == LV) | (mask == MYO)) & (to_rv < 8) & (to_background < 8)
        assert np.abs(rv - (to_background - to_rv))[near].max() < 1e-5


def test_an_absent_structure_has_no_place():
    lone = np.where(MASKS == RV, RV, 0).astype(np.uint8)
    lv, heart, rv = signed_distances(hot(lone), REACH).unbind(1)
    assert (lv == -1).all()
    assert (heart == -1).all()
    assert ((rv > 0).numpy() == (lone == RV)).all()
    without = np.where(MASKS == RV, 0, MASKS).astype(np.uint8)
    assert (signed_distances(hot(without), REACH)[:, 2] <= 0).all()
    for masks in (lone, without, np.zeros_like(lone)):
        assert (labels(signed_distances(hot(masks), REACH), 64).numpy() == masks).all()


@pytest.mark.parametrize(("grid", "least"), [(16, 0.93), (32, 0.98), (64, 1.0)])
def test_masks_come_back_from_their_coarse_distances(grid, least):
    maps = MaskFlow(replace(DISTANCES, grid=grid)).maps(hot(MASKS))
    assert maps.shape == (len(MASKS), 3, grid, grid)
    back = labels(maps, 64).numpy()
    assert np.diag(pairwise_dice(MASKS, back)).mean() >= least
    assert check_anatomy(back)["valid"].mean() >= check_anatomy(MASKS)["valid"].mean()


def test_the_maps_of_a_mask_do_not_depend_on_its_resolution_but_for_rounding():
    """``reach`` is a share of the width, so a mask of twice the pixels has the same maps."""
    twice = MASKS.repeat(2, axis=1).repeat(2, axis=2)
    one, two = (MaskFlow(DISTANCES).maps(hot(masks)) for masks in (MASKS, twice))
    assert (one - two).abs().max() < 0.1


@pytest.mark.parametrize("sampler", MaskFlow.samplers)
def test_a_sample_does_not_depend_on_its_batch(sampler):
    flow = network()
    whole = flow.sample(32, [1, 2, 3], sampler=sampler, steps=5)
    assert whole.dtype == torch.uint8
    assert whole.shape == (3, 32, 32)
    assert len(np.unique(whole.numpy())) > 1
    assert not torch.equal(whole[0], whole[1])
    assert torch.equal(flow.sample(32, [2], sampler=sampler, steps=5)[0], whole[1])


def test_every_sampler_finds_the_one_mask_that_there_is(monkeypatch):
    """A network that knows a single mask, in the place of a trained one."""
    flow = network()
    goal = flow.maps(hot(MASKS[:1]))
    monkeypatch.setattr(flow, "_clean", lambda x, t: goal.expand_as(x))
    for sampler in flow.samplers:
        assert (flow.sample(64, [1, 2], sampler=sampler, steps=7) == labels(goal, 64)).all()


@pytest.mark.parametrize("sampler", MaskFlow.samplers)
def test_the_samplers_draw_the_distribution_whose_best_prediction_they_are_given(sampler, monkeypatch):
    """Data N(0.2, 0.3²) in each cell: what is predicted next to the end has its mean and spread."""
    flow, mean, spread, states = network(), 0.2, 0.3, []

    def best(x, t):
        share = ((t + 1) / flow.timesteps).view(-1, 1, 1, 1)
        gain = (1 - share) * spread**2 / (share**2 + ((1 - share) * spread) ** 2)
        states.append(mean + gain * (x - (1 - share) * mean))
        return states[-1]

    monkeypatch.setattr(flow, "_clean", best)
    flow.sample(32, range(200), sampler=sampler, steps=100)
    assert states[-1].mean().item() == pytest.approx(mean, abs=0.01)
    assert states[-1].std().item() == pytest.approx(spread, abs=0.015)


def test_the_loss_is_that_of_the_velocity():
    """The velocity towards the mask is (mask - noise); a prediction of the mask tells it as (prediction - x) / share."""
    flow, masks, randoms = network(), hot(MASKS), step_randoms(3, 0, len(MASKS))
    t, noise = draw_times_and_noise(flow.noise_shape(64), 1000, step_randoms(3, 0, len(MASKS)), torch.device("cpu"))
    share = ((t + 1) / 1000).view(-1, 1, 1, 1)
    clean, maps = flow.denoising_error(masks, t, noise)
    x = torch.lerp(maps, noise, share)
    less = share / share.clamp(min=LEAST_NOISE)  # the least noisy times would outweigh all others
    assert less.min() < 1 == less.max()
    expected = F.mse_loss(less * (clean - x) / share, less * (maps - noise))
    assert flow.loss(masks, randoms).item() == pytest.approx(expected.item(), rel=1e-4)


def test_noise_lies_at_the_last_time_and_the_mask_at_the_first():
    flow, seen = MaskFlow(DISTANCES), []
    flow.unet.register_forward_pre_hook(lambda _, inputs: seen.append(F.pixel_shuffle(inputs[0], DISTANCES.patch)))
    noise = torch.randn(1, *flow.noise_shape(64))
    for t in (0, flow.timesteps - 1):
        flow.denoising_error(hot(MASKS[:1]), torch.tensor([t]), noise)
    assert torch.allclose(seen[0], flow.maps(hot(MASKS[:1])), atol=0.01)
    assert torch.equal(seen[1], noise)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"attention": (True,)}, "one a level"),
        ({"grid": 9}, "grid must be a multiple"),
        ({"grid": 0}, "grid must be a multiple"),
        ({"grid": 12, "patch": 4}, "here 8; found grid 12"),
        ({"patch": 0}, "multiple of patch"),
        ({"reach": 0.0}, "reach must lie"),
        ({"reach": 1.5}, "reach must lie"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, told):
    with pytest.raises(ValueError, match=told):
        DistanceNetwork(**vars(DISTANCES) | changes)
