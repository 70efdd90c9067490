import numpy as np
import pytest

from cmr.errors import DataError
from cmr.labels import RV
from evaluation.statistics import IntervalSettings
from evaluation.utility.case import COLUMNS
from evaluation.utility.scores import score, summarise
from tests.evaluation.utility.volumes import drawn_test_set

SETTINGS = IntervalSettings(bootstrap=200, permutations=1, confidence=0.95)


def test_perfect_predictions():
    truth, index = drawn_test_set()
    scores = score(truth, truth, index)
    assert tuple(scores.columns) == COLUMNS
    figures = summarise(scores, SETTINGS, seed=0)
    for convention, cases in (("clinical", 18), ("paper", 96)):
        found = figures[convention]
        assert [found[name].value for name in ("dice", "iou", "hd95", "asd")] == [1, 1, 0, 0]
        assert found["dice"].n == cases
        assert [found[name].value for name in ("misses", "false_finds", "both_empty", "dropped")] == [0, 0, 0, 0]
    assert figures["clinical"]["RV"]["dice"].value == 1
    assert "background" not in figures["clinical"]
    assert figures["paper"]["background"]["dice"].value == 1


def test_empty_predictions_are_punished_clinically_and_dropped_in_the_papers_way():
    truth, index = drawn_test_set()
    figures = summarise(score(np.zeros_like(truth), truth, index), SETTINGS, seed=0)
    assert figures["clinical"]["dice"].value == 0
    assert figures["clinical"]["hd95"].value > 100
    assert (figures["clinical"]["misses"].value, figures["clinical"]["dropped"].value) == (18, 0)
    assert (figures["paper"]["misses"].value, figures["paper"]["dropped"].value) == (72, 72)
    assert figures["paper"]["hd95"].n == 24  # the background alone has distances
    assert figures["paper"]["LV"]["hd95"].value is None


def test_a_miss_never_improves_a_clinical_mean():
    truth, index = drawn_test_set()
    poor = np.roll(truth, 4, axis=2)
    missed = poor.copy()
    missed[(index["subject"] == "p0") & (missed == RV).any(axis=(1, 2))] = 0
    before, after = (summarise(score(predicted, truth, index), SETTINGS, 0)["clinical"] for predicted in (poor, missed))
    assert after["dice"].value < before["dice"].value
    assert after["hd95"].value > before["hd95"].value
    assert after["asd"].value > before["asd"].value


def test_both_empty_is_left_out_and_counted():
    truth, index = drawn_test_set()
    truth[(index["subject"] == "p0").to_numpy()[:, None, None] & (truth == RV)] = 0
    figures = summarise(score(truth, truth, index), SETTINGS, seed=0)
    assert figures["clinical"]["both_empty"].value == 2
    assert figures["clinical"]["RV"]["dice"].n == 4
    assert figures["clinical"]["dice"].value == 1


def test_one_patient_has_no_interval():
    truth, index = drawn_test_set(patients=1)
    assert summarise(score(truth, truth, index), SETTINGS, 0)["clinical"]["dice"].ci_low is None


def test_what_does_not_fit_is_an_error():
    truth, index = drawn_test_set()
    with pytest.raises(DataError, match="same number and size"):
        score(truth[:, :32], truth, index)
    with pytest.raises(DataError, match="index rows"):
        score(truth, truth, index.iloc[1:])
