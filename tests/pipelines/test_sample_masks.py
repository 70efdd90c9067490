"""The filter that draws invalid masks again."""

from dataclasses import replace

import numpy as np
import pytest

from models.config import MaskSamplingSettings
from pipelines.sample_masks import _draw_valid

SIZE = 16


def _heart(size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size // 2
    radius = np.hypot(x, y)
    return np.where(radius < 3, 1, np.where(radius < 5, 2, 0)).astype(np.uint8)


def _how(attempts: int) -> MaskSamplingSettings:
    return MaskSamplingSettings("ddim", 2, 7, "float32", attempts, False)


class Unsteady:
    """Draws a heart from every seed that divides by three, and two specks of LV from the others."""

    def __init__(self):
        self.drawn: list[int] = []

    def __call__(self, seeds):
        self.drawn += seeds
        specks = np.zeros((SIZE, SIZE), np.uint8)
        specks[2, 2] = specks[10, 10] = 1
        return np.stack([_heart(SIZE) if seed % 3 == 0 else specks for seed in seeds])


def test_without_the_filter_every_mask_is_drawn_once_and_told_valid_or_not():
    network = Unsteady()
    masks, drawn = _draw_valid(network, 40, _how(1), seed=1)
    assert len(network.drawn) == 40
    assert (drawn["attempts"] == 1).all()
    assert (drawn["valid"] == (drawn["seed"] % 3 == 0)).all()
    assert 0 < drawn["valid"].sum() < 40
    assert [mask.any() for mask in masks] == [True] * 40


def test_only_invalid_masks_are_drawn_again_and_with_other_seeds():
    once, first = _draw_valid(Unsteady(), 40, _how(1), seed=1)
    network = Unsteady()
    masks, drawn = _draw_valid(network, 40, _how(4), seed=1)
    kept = first["valid"].to_numpy()
    assert (masks[kept] == once[kept]).all()
    assert (drawn["attempts"][kept] == 1).all()
    assert (drawn["attempts"][~kept] > 1).all()
    assert drawn["valid"].sum() > first["valid"].sum()
    assert len(set(network.drawn)) == len(network.drawn)
    # What is recorded is the seed that the mask was made from, so that it can be made again.
    for mask, seed in zip(masks, drawn["seed"], strict=True):
        assert (mask == Unsteady()([seed])[0]).all()
    left = drawn[~drawn["valid"]]
    assert (left["attempts"] == 4).all()


def test_a_mask_keeps_its_draws_however_many_are_drawn():
    few, many = (_draw_valid(Unsteady(), count, _how(3), seed=1)[1] for count in (10, 40))
    assert (few == many[:10]).all(axis=None)


def test_masks_are_cleaned_up_before_they_are_judged():
    masks, drawn = _draw_valid(Unsteady(), 40, replace(_how(1), clean_up=True), seed=1)
    assert (drawn["valid"] == (drawn["seed"] % 3 == 0)).all()  # one speck of LV is no heart either
    assert (drawn["cleaned"] == (drawn["seed"] % 3 != 0)).all()
    assert all((mask == 1).sum() == 1 for mask in masks[drawn["cleaned"]])  # one of the two specks


def test_no_attempt_at_all_is_refused():
    with pytest.raises(ValueError, match="at least 1, found 0"):
        MaskSamplingSettings("ddim", 2, 7, "float32", 0, False)
