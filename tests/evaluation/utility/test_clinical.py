import numpy as np
import pytest

from cmr.errors import DataError
from cmr.labels import LV, RV
from evaluation.utility.clinical import score_volumes
from tests.evaluation.utility.volumes import drawn_test_set

DIAGONAL = np.sqrt((4 * 10) ** 2 + 2 * (64 * 1.25) ** 2)


def rows_of(scores, subject, phase, structure):
    return scores.query("subject == @subject and phase == @phase and structure == @structure").iloc[0]


def test_the_truth_is_perfect():
    truth, index = drawn_test_set()
    scores = score_volumes(truth, truth, index)
    assert len(scores) == 3 * 2 * 3
    assert (scores[["dice", "iou"]] == 1).all(axis=None)
    assert (scores[["hd95", "asd"]] == 0).all(axis=None)
    assert set(scores["structure"]) == {"LV", "MYO", "RV"}


def test_a_missed_structure_costs_the_diagonal():
    truth, index = drawn_test_set()
    predicted = truth.copy()
    missed = (index["subject"] == "p1") & (index["phase"] == "ES")
    predicted[missed] = np.where(predicted[missed] == RV, 0, predicted[missed])
    score = rows_of(score_volumes(predicted, truth, index), "p1", "ES", "RV")
    assert (score["outcome"], score["dice"], score["iou"]) == ("missed", 0, 0)
    assert score["hd95"] == score["asd"] == pytest.approx(DIAGONAL)
    swapped = rows_of(score_volumes(truth, predicted, index), "p1", "ES", "RV")
    assert (swapped["outcome"], swapped["dice"], swapped["hd95"]) == ("false_find", 0, pytest.approx(DIAGONAL))


def test_both_empty_has_no_scores():
    truth, index = drawn_test_set()
    truth[truth == LV] = 0
    assert set(score_volumes(truth, truth, index).query("structure == 'LV'")["outcome"]) == {"both_empty"}


def test_distances_are_millimetres_with_the_true_slice_spacing():
    truth, index = drawn_test_set(patients=1, slices=5)
    truth[:] = 0
    predicted = truth.copy()
    truth[index["slice"] == 1, 20:40, 20:40] = LV
    predicted[index["slice"] == 2, 20:40, 20:40] = LV
    score = rows_of(score_volumes(predicted, truth, index), "p0", "ED", "LV")
    assert (score["dice"], score["hd95"], score["asd"]) == pytest.approx((0, 10, 10))
    predicted[:] = 0
    truth[:] = 0
    truth[index["slice"] == 1, 20, 20:40] = LV
    predicted[index["slice"] == 1, 24, 20:40] = LV
    score = rows_of(score_volumes(predicted, truth, index), "p0", "ED", "LV")
    assert (score["hd95"], score["asd"]) == pytest.approx((4 * 1.25, 4 * 1.25))


def test_a_volume_counts_as_one_and_the_order_of_rows_does_not_matter():
    truth, index = drawn_test_set()
    predicted = np.roll(truth, 2, axis=1)
    shuffled = np.random.default_rng(0).permutation(len(index))
    plain = score_volumes(predicted, truth, index)
    mixed = score_volumes(predicted[shuffled], truth[shuffled], index.iloc[shuffled])
    assert plain.equals(mixed)


@pytest.mark.parametrize("column", ["slice", "row_mm"])
def test_a_broken_volume_is_an_error_that_names_it(column):
    truth, index = drawn_test_set()
    index.loc[(index["subject"] == "p2") & (index["slice"] == 3), column] = 7
    with pytest.raises(DataError, match="p2 ED"):
        score_volumes(truth, truth, index)
