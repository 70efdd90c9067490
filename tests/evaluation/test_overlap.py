import numpy as np
import pytest

from cmr.labels import LV, STRUCTURES
from evaluation.overlap import dice, iou, pairwise_dice
from tests.evaluation.hearts import hearts


def squares(shift):
    first, second = np.zeros((2, 32, 32), dtype=bool)
    first[5:15, 5:15] = True
    second[5:15, 5 + shift : 15 + shift] = True
    return first, second


@pytest.mark.parametrize("shift", [0, 3, 10])
def test_shifted_squares(shift):
    first, second = squares(shift)
    assert dice(first, second) == pytest.approx((10 - shift) / 10)
    assert iou(first, second) == pytest.approx((10 - shift) / (10 + shift))


def test_empty_masks():
    full, empty = squares(0)[0], np.zeros((32, 32), dtype=bool)
    assert dice(full, empty) == iou(full, empty) == 0
    assert np.isnan(dice(empty, empty))
    assert np.isnan(iou(empty, empty))


def test_all_pairs_are_the_single_ones():
    first, second = hearts(3, seed=0), hearts(4, seed=1)
    expected = [[np.mean([dice(a == label, b == label) for label in STRUCTURES.values()]) for b in second] for a in first]
    assert pairwise_dice(first, second) == pytest.approx(np.array(expected))


def test_pairs_leave_out_what_neither_shows():
    lv_only, empty = np.zeros((1, 8, 8), np.uint8), np.zeros((1, 8, 8), np.uint8)
    lv_only[0, 2:4, 2:4] = LV
    assert pairwise_dice(lv_only, lv_only).item() == 1
    assert pairwise_dice(lv_only, empty).item() == 0
    assert pairwise_dice(empty, empty).item() == 1
