import numpy as np
import pandas as pd
import pytest

from cmr.errors import DataError
from evaluation.statistics import IntervalSettings
from evaluation.utility.against_real import COMPARISONS, against_real, missing_comparisons
from evaluation.utility.scores import score, sd_of_seeds, summarise
from tests.evaluation.utility.volumes import drawn_test_set

SETTINGS = IntervalSettings(bootstrap=500, permutations=1, confidence=0.95)


def scored(dice):
    """A table with these Dice values, (patients, cases)."""
    rows = [
        {"convention": "clinical", "subject": f"p{patient}", "phase": "ED", "structure": f"S{case}", "dice": value}
        for patient, values in enumerate(dice)
        for case, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_the_same_segmenter_differs_by_nothing():
    truth, index = drawn_test_set()
    scores = score(np.roll(truth, 2, axis=2), truth, index)
    found = against_real(scores, scores, SETTINGS, 0)
    difference, ratio = (found[name] for name in COMPARISONS)
    assert (difference.value, difference.ci_low, difference.ci_high) == (0, 0, 0)
    assert (ratio.value, ratio.ci_low, ratio.ci_high) == (1, 1, 1)


def test_they_are_those_of_the_means():
    truth, index = drawn_test_set()
    worse, better = (score(np.roll(truth, by, axis=2), truth, index) for by in (6, 2))
    means = [summarise(scores, SETTINGS, 0)["clinical"]["dice"].value for scores in (worse, better)]
    found = against_real(worse, better, SETTINGS, 0)
    assert found["dice_vs_real"].value == pytest.approx(means[0] - means[1])
    assert found["dice_ratio_to_real"].value == pytest.approx(means[0] / means[1])
    assert found["dice_vs_real"].ci_high < 0
    assert found["dice_vs_real"].n == 18


def test_what_makes_a_patient_hard_for_both_cancels():
    rng = np.random.default_rng(0)
    real = rng.uniform(0.2, 0.9, (12, 1)) + np.zeros((12, 3))
    found = against_real(scored(real - 0.05), scored(real), SETTINGS, 0)["dice_vs_real"]
    assert found.value == pytest.approx(-0.05)
    assert found.ci_high - found.ci_low < 1e-12


def test_empty_cases_count_on_the_side_that_has_them():
    real, ours = np.full((4, 2), 0.8), np.full((4, 2), 0.8)
    real[0, 1], ours[0, 1] = np.nan, 0.0  # rightly empty; found where there is nothing
    found = against_real(scored(ours), scored(real), SETTINGS, 0)
    assert found["dice_vs_real"].value == pytest.approx(0.7 - 0.8)


def test_one_patient_a_failed_reference_and_other_cases():
    found = against_real(scored([[0.5]]), scored([[0.8]]), SETTINGS, 0)
    assert found["dice_ratio_to_real"].value == pytest.approx(0.625)
    assert found["dice_ratio_to_real"].ci_low is None
    found = against_real(scored([[0.5], [0.4]]), scored([[0.0], [0.0]]), SETTINGS, 0)
    assert found["dice_ratio_to_real"].reason == "not defined: a ratio to 0"
    found = against_real(scored([[0.5], [0.4]]), scored([[0.0], [0.9]]), SETTINGS, 0)
    assert "no interval" in found["dice_ratio_to_real"].reason
    none = scored([[np.nan], [np.nan]])
    assert against_real(none, none, SETTINGS, 0)["dice_vs_real"].reason == "no observations"
    with pytest.raises(DataError, match="same test set"):
        against_real(scored([[0.5]]), scored([[0.5, 0.6]]), SETTINGS, 0)
    assert missing_comparisons("why")["dice_vs_real"].reason == "why"


def test_scatter_of_the_seeds():
    one, other = scored([[0.5], [0.7]]).assign(seed="42"), scored([[0.7], [0.9]]).assign(seed="43")
    assert sd_of_seeds(one).value is None
    found = sd_of_seeds(pd.concat([one, other]))
    assert (found.value, found.n) == (pytest.approx(0.2 / np.sqrt(2)), 2)
