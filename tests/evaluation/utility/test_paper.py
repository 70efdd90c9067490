import numpy as np
import pytest

from cmr.labels import LV, RV
from evaluation.utility.paper import score_slices
from tests.evaluation.utility.volumes import drawn_test_set


def test_the_truth_is_perfect_in_every_slice_and_class():
    truth, index = drawn_test_set()
    scores = score_slices(truth, truth, index)
    assert len(scores) == len(index) * 4
    assert set(scores["structure"]) == {"background", "LV", "MYO", "RV"}
    assert (scores["dice"] == 1).all()
    assert (scores["hd95"] == 0).all()
    assert scores["slice"].tolist() == np.repeat(index["slice"], 4).tolist()


def test_only_labelled_slices_count():
    truth, index = drawn_test_set()
    index["labelled"] = index["slice"] < 2
    assert len(score_slices(truth, truth, index)) == len(index) * 2


def test_a_missed_class_has_no_distance():
    truth, index = drawn_test_set()
    predicted = np.where(truth == RV, 0, truth)
    rv = score_slices(predicted, truth, index).query("structure == 'RV'")
    assert set(rv["outcome"]) == {"missed"}
    assert (rv["dice"] == 0).all()
    assert rv["hd95"].isna().all()


def test_distances_are_pixels():
    truth, index = drawn_test_set(patients=1, slices=1)
    truth[:] = 0
    truth[:, 20:40, 20:40] = LV
    lv = score_slices(np.roll(truth, 3, axis=1), truth, index).query("structure == 'LV'").iloc[0]
    assert (lv["dice"], lv["iou"], lv["hd95"]) == pytest.approx((17 / 20, 17 / 23, 3))
