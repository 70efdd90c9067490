import numpy as np
import pytest

from cmr.labels import LV, MYO, RV
from evaluation.validity import CHECKS, check_anatomy
from tests.evaluation.hearts import heart


def failures(mask):
    checks = check_anatomy(mask[None]).iloc[0]
    assert checks["valid"] == all(checks[name] for name in CHECKS)
    return {name for name in CHECKS if not checks[name]}


def edited(change):
    mask = heart()
    change(mask)
    return mask


def set_at(rows, columns, label):
    return lambda mask: mask.__setitem__((rows, columns), label)


def test_a_heart_is_valid():
    assert failures(heart()) == set()


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (set_at(slice(0, 2), slice(0, 2), RV), {"components"}),
        (set_at(32, 32, 0), {"holes"}),
        (set_at(32, slice(38, 50), 0), {"ring", "lv_inside"}),  # the wall is cut through
        (set_at(slice(50, 54), slice(32, 36), LV), {"components", "lv_inside"}),
        (set_at(32, 32, RV), {"components", "holes"}),
    ],
)
def test_each_fault_is_found(change, failed):
    assert failures(edited(change)) == failed


def test_an_rv_apart_from_the_ring_is_found():
    mask = heart()
    mask[mask == RV] = 0
    mask[30:34, 2:6] = RV
    assert failures(mask) == {"rv_touching"}


def test_slices_may_lack_structures():
    apex = heart()
    apex[apex == RV] = 0
    assert failures(apex) == set()
    apex[apex == LV] = MYO
    assert failures(apex) == set()
    base = np.zeros_like(apex)
    base[10:20, 10:20] = RV
    assert failures(base) == set()


def test_an_lv_without_wall_and_an_empty_mask_are_invalid():
    bare = heart()
    bare[bare == MYO] = 0
    assert {"ring", "lv_inside"} <= failures(bare)
    assert failures(np.zeros((16, 16), dtype=np.uint8)) == set(CHECKS)


def test_a_cavity_at_the_edge_of_the_picture_is_not_enclosed():
    assert "lv_inside" in failures(heart(column=4))
