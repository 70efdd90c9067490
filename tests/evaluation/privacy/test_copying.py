import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from evaluation.privacy.copying import cell_count, cells_of, copying_test

RNG = np.random.default_rng(0)


def one_cell(synthetic, holdout):
    return copying_test(synthetic, np.zeros(len(synthetic), int), holdout, np.zeros(len(holdout), int))


def test_copies_hold_out_and_underfit_in_closed_form():
    m, n = 40, 30
    sigma = np.sqrt(m * n * (m + n + 1) / 12)
    copies, far = one_cell(np.zeros(m), RNG.random(n) + 1), one_cell(np.full(m, 5.0), RNG.random(n))
    assert copies.c_t == pytest.approx(-m * n / 2 / sigma)
    assert copies.nearer == 1
    assert far.c_t == pytest.approx(m * n / 2 / sigma)
    assert far.nearer == 0
    alike = RNG.random(n)
    assert one_cell(alike, alike).c_t == 0
    assert one_cell(alike, alike).nearer == 0.5


def test_the_z_score_is_the_mann_whitney_test():
    synthetic, holdout = RNG.random(50), RNG.random(60) + 0.1
    expected = mannwhitneyu(synthetic, holdout, alternative="less", use_continuity=False, method="asymptotic")
    assert norm.cdf(one_cell(synthetic, holdout).c_t) == pytest.approx(expected.pvalue)


def test_new_images_score_like_a_standard_normal():
    scores = [one_cell(RNG.random(40), RNG.random(40)).c_t for _ in range(400)]
    assert np.mean(scores) == pytest.approx(0, abs=0.15)
    assert np.std(scores) == pytest.approx(1, abs=0.15)


def test_cells_are_weighted_by_their_hold_out_images_and_small_ones_left_out():
    """Copying in one cell and underfitting in another must not be mixed before they are compared."""
    synthetic = np.concatenate([np.zeros(10), np.full(10, 9.0), np.zeros(3)])
    holdout = np.concatenate([np.ones(30), np.ones(10), np.ones(50)])
    found = copying_test(synthetic, np.repeat([0, 1, 2], [10, 10, 3]), holdout, np.repeat([0, 1, 2], [30, 10, 50]))
    assert set(found.cells) == {0, 1}
    assert found.cells[0] < 0 < found.cells[1]
    assert found.c_t == pytest.approx((30 * found.cells[0] + 10 * found.cells[1]) / 40)
    assert found.nearer == pytest.approx(0.75)


def test_no_cell_with_enough_images():
    assert np.isnan(one_cell(np.ones(7), np.ones(100)).c_t)
    assert one_cell(np.ones(7), np.ones(100)).cells == {}


def test_cells_follow_the_training_images():
    centres = np.repeat(np.eye(3), 10, axis=0).reshape(-1, 1, 3)
    train, other = (centres + RNG.normal(scale=0.02, size=centres.shape) for _ in range(2))
    cells, same = cells_of(train, [other, other], 3, seed=0)
    assert (cells == same).all()
    assert len({tuple(cells[start : start + 10]) for start in (0, 10, 20)}) == 3
    assert all(np.unique(cells[start : start + 10]).size == 1 for start in (0, 10, 20))


@pytest.mark.parametrize(("train", "holdout", "cells"), [(500, 210, 5), (500, 45, 2), (500, 5, 1), (2, 200, 2)])
def test_cell_count(train, holdout, cells):
    assert cell_count(train, holdout) == cells
