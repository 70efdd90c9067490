"""Mask adherence."""

import numpy as np
import pytest

from evaluation.adherence import mask_adherence


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
