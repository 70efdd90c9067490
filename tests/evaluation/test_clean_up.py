"""Drawn masks with specks and holes, mended."""

import numpy as np
import pytest

from cmr.errors import DataError
from cmr.labels import LV, MYO, RV
from evaluation.clean_up import clean_up
from evaluation.validity import check_anatomy

SIZE = 32


def _heart() -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    mask = np.where(np.hypot(x, y) < 8, MYO, 0).astype(np.uint8)
    mask[np.hypot(x, y) < 5] = LV
    mask[(np.hypot(x + 8, y) < 5) & (mask == 0)] = RV
    return mask


def test_a_whole_heart_and_an_empty_mask_stay_as_they_are():
    masks = np.stack([_heart(), np.zeros((SIZE, SIZE), np.uint8)])
    cleaned, changed = clean_up(masks)
    assert (cleaned == masks).all()
    assert not changed.any()


@pytest.mark.parametrize(
    ("rows", "label"),
    [
        ((slice(1, 3), slice(1, 3)), LV),  # a speck of LV far off
        ((slice(28, 30), slice(28, 30)), RV),  # a second RV
        ((slice(16, 18), slice(16, 18)), 0),  # a hole in the LV
        ((slice(16, 18), slice(16, 18)), MYO),  # an island of myocardium in the LV
        ((slice(16, 17), slice(22, 23)), 0),  # a hole in the wall
    ],
)
def test_what_is_too_much_goes_and_what_is_missing_comes(rows, label):
    whole = _heart()
    broken = whole.copy()
    broken[rows] = label
    assert not check_anatomy(broken[None])["valid"].item()
    cleaned, changed = clean_up(np.stack([broken, whole]))
    assert changed.tolist() == [True, False]
    assert check_anatomy(cleaned)["valid"].all()
    assert (cleaned[0] != whole).mean() < 0.01
    again, rest = clean_up(cleaned)
    assert (again == cleaned).all()
    assert not rest.any()


def test_an_open_ring_stays_open():
    mask = _heart()
    mask[14:18, 20:] = 0
    cleaned, _ = clean_up(mask[None])
    assert (cleaned[0, 14:18, 21:] == 0).all()


def test_other_labels_are_refused():
    with pytest.raises(DataError):
        clean_up(np.full((1, SIZE, SIZE), 4, np.uint8))
