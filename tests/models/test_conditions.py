"""What a generator reads of a mask."""

import pytest
import torch

from cmr.labels import LV, MYO, RV
from models.conditions import CHANNELS, NEAR, REACH, encode, far_distances
from models.data import one_hot
from models.distance_maps import REGIONS, signed_distances
from tests.models.with_gaussian import slices

SIZE = 32


def halves() -> torch.Tensor:
    """LV in the upper half of a window, background in the lower one."""
    labels = torch.zeros(1, SIZE, SIZE, dtype=torch.long)
    labels[:, : SIZE // 2] = LV
    return one_hot(labels)


@pytest.mark.parametrize("condition", ["one_hot", "distances"])
def test_there_are_as_many_channels_as_are_announced(condition):
    assert encode(slices(3)[1], condition).shape == (3, CHANNELS[condition], 16, 16)


def test_one_hot_is_the_mask_as_it_is():
    masks = slices(3)[1]
    assert torch.equal(encode(masks, "one_hot"), masks)


def test_both_kinds_of_distances_are_clipped_where_they_should_be():
    channels = encode(halves(), "distances")
    rows = torch.arange(SIZE)
    distance = SIZE / 2 - rows - 0.5  # pixels to the outline, positive inside
    for first, reach in ((0, REACH), (REGIONS, NEAR)):
        expected = (distance / (reach * SIZE)).clamp(-1, 1)
        for region in (0, 1):  # LV, and LV with myocardium, which there is none of
            assert torch.allclose(channels[0, first + region], expected[:, None].expand(SIZE, SIZE), atol=1e-5)
    assert channels[0, 2].max() <= 0  # no RV
    assert torch.equal(far_distances(channels), signed_distances(halves(), REACH))


def test_the_near_distances_tell_on_which_side_of_an_outline_a_pixel_lies():
    masks = slices(8)[1]
    near = encode(masks, "distances")[:, REGIONS : 2 * REGIONS]
    lv, heart = masks[:, LV] > 0, (masks[:, LV] + masks[:, MYO]) > 0
    assert torch.equal(near[:, 0] > 0, lv)
    assert torch.equal(near[:, 1] > 0, heart)
    assert torch.equal((near[:, 2] > 0) & ~heart, masks[:, RV] > 0)
    assert near[near.abs() > 0].abs().min() > 0.3


def test_coordinates_are_the_centres_of_rows_and_columns():
    rows, columns = encode(halves(), "distances")[0, -2:]
    centres = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    assert torch.allclose(rows, centres[:, None].expand(SIZE, SIZE))
    assert torch.allclose(columns, centres.expand(SIZE, SIZE))


def test_no_mask_differs_from_every_mask():
    """Also from one that shows nothing but background: there the distances are at their lowest, and not 0."""
    without = encode(torch.zeros(1, 4, SIZE, SIZE), "distances")
    assert not without[:, : 2 * REGIONS].any()
    empty, full = one_hot(torch.zeros(1, SIZE, SIZE)), one_hot(torch.full((1, SIZE, SIZE), LV))
    assert (encode(empty, "distances")[:, : 2 * REGIONS] == -1).all()
    for mask in (empty, full, halves()):
        assert encode(mask, "distances")[:, : 2 * REGIONS].any()


def test_a_mask_is_read_the_same_beside_one_that_is_left_out():
    masks = slices(2)[1]
    left_out = torch.stack([masks[0], torch.zeros_like(masks[1])])
    assert torch.equal(encode(left_out, "distances")[0], encode(masks, "distances")[0])
