"""Mask adherence."""

import numpy as np
import pytest

from cmr.errors import DataError
from evaluation.adherence import adherence_figures, mask_adherence, shuffle_patients
from evaluation.statistics import IntervalSettings
from tests.evaluation.hearts import hearts

SETTINGS = IntervalSettings(bootstrap=300, permutations=1, confidence=0.95)


def _masks() -> np.ndarray:
    masks = np.zeros((3, 16, 16), np.uint8)
    masks[0, 2:6, 2:6], masks[0, 8:12, 2:6], masks[0, 2:6, 8:12] = 1, 2, 3
    masks[1, 2:6, 2:6] = 3
    return masks


def test_a_reading_equal_to_the_mask_is_perfect_and_an_empty_mask_says_nothing():
    scores = mask_adherence(_masks(), _masks())
    assert scores[:2].tolist() == [1, 1]
    assert np.isnan(scores[2])


def test_an_image_that_ignores_its_mask_scores_zero():
    assert mask_adherence(np.zeros_like(_masks()), _masks())[:2].tolist() == [0, 0]


def test_only_the_structures_of_the_mask_count():
    read = _masks()
    read[0, 8:12, 2:6] = 0  # one of three structures is missing
    read[1, 10:14, 10:14] = 1  # something that the mask did not ask for
    read[1, 4:6, 2:6] = 0  # and half of what it did: Dice 2 * 8 / (8 + 16)
    scores = mask_adherence(read, _masks())
    assert scores[0] == pytest.approx(2 / 3)
    assert scores[1] == pytest.approx(2 / 3)


def _figures(read, real, masks, patients):
    return adherence_figures(read, real, masks, np.array(patients), intervals=SETTINGS, seed=0)


def test_perfect_images_reach_the_real_ones_and_leave_shuffled_masks_behind():
    masks = hearts(12, seed=0)
    figures = _figures(masks, masks, masks, [f"p{row // 2}" for row in range(12)])
    assert figures["mask_adherence"].value == figures["mask_adherence_real"].value == 1
    assert figures["mask_adherence_ratio"].to_json() == {"value": 1.0, "ci_low": 1.0, "ci_high": 1.0, "n": 12}
    over, shuffled = figures["mask_adherence_over_shuffled"], figures["mask_adherence_shuffled"]
    assert over.value == pytest.approx(1 - shuffled.value)
    assert 0.2 < over.ci_low <= over.value <= over.ci_high < 1
    assert all(figure.n == 12 for figure in figures.values())


def test_images_that_ignore_their_masks_are_no_better_than_shuffled_ones():
    """Every image shows the same heart: hearts lie alike, so its Dice is far from 0, yet nothing is gained."""
    masks = hearts(40, seed=0)
    figures = _figures(np.repeat(masks[:1], 40, axis=0), masks, masks, np.arange(40))
    assert figures["mask_adherence"].value > 0.3
    assert figures["mask_adherence_over_shuffled"].ci_low < 0 < figures["mask_adherence_over_shuffled"].ci_high


def test_ratio_resamples_images_and_real_slices_together():
    """Synthetic Dice is half the real one for each patient: however much patients differ, the ratio is 0.5 without doubt."""
    masks = np.zeros((4, 16, 16), np.uint8)
    masks[:, :8, :8] = 1
    real, read = np.zeros_like(masks), np.zeros_like(masks)
    for row, width in enumerate((8, 6, 4, 2)):  # Dice 2w / (8 + w) with pieces of width w
        real[row, :8, :width] = 1
    dice = mask_adherence(real, masks)
    for row, wanted in enumerate(dice / 2):  # n of 64 pixels: 2n / (64 + n)
        read[row].ravel()[np.flatnonzero(masks[row])[: round(64 * wanted / (2 - wanted))]] = 1
    ratio = _figures(read, real, masks, list("abcd"))["mask_adherence_ratio"]
    assert ratio.value == pytest.approx(0.5, abs=0.01)
    assert ratio.ci_high - ratio.ci_low < 0.02 < np.ptp(dice) / 10


def test_masks_without_structures_count_in_no_figure():
    masks = hearts(6, seed=1)
    masks[4:] = 0
    figures = _figures(masks, masks, masks, list("aabbcc"))
    assert [figure.n for figure in figures.values()] == [4] * 5
    assert figures["mask_adherence"].value == 1


def test_one_patient_has_nobody_to_shuffle_with():
    masks = hearts(3, seed=1)
    figures = _figures(masks, masks, masks, list("aaa"))
    assert "fewer than 2" in figures["mask_adherence_shuffled"].reason
    assert figures["mask_adherence_over_shuffled"].value is None
    assert figures["mask_adherence"].value == 1


def test_shapes_that_do_not_fit_are_refused():
    masks = hearts(3, seed=1)
    with pytest.raises(DataError, match="real slices"):
        _figures(masks, masks[:2], masks, list("abc"))


def test_shuffling_gives_everyone_another_patients_masks_and_takes_everybodys():
    patients = np.array(list("aaabbcdddd"))
    for seed in range(5):
        given = patients[shuffle_patients(patients, seed)]
        assert not (given == patients).any()
        assert set(given) == set("abcd")
        assert all(np.unique(given[patients == name]).size == 1 for name in "abcd")
    np.testing.assert_array_equal(shuffle_patients(patients, 3), shuffle_patients(patients, 3))
