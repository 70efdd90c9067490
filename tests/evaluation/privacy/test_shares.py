import numpy as np
import pytest

from evaluation.privacy.shares import closer_share, copy_share, full_leak_share, mean_nearest, ratio

RNG = np.random.default_rng(0)


def test_mean_nearest():
    assert mean_nearest(np.array([[1.0, 5.0], [2.0, 3.0]])) == 2.0
    assert np.isnan(mean_nearest(np.empty((0, 3))))


def test_ratio_to_another_patient_and_to_anybody():
    nearest, second = np.array([[1.0], [4.0]]), np.array([[2.0], [5.0]])
    assert ratio(nearest) == 0.25
    assert ratio(nearest, second) == 0.5
    assert ratio(np.array([[0.0, 3.0], [2.0, 3.0]])) == 0.5  # a copy and a query between two patients
    assert ratio(np.zeros((2, 1))) == 1
    assert np.isnan(ratio(np.ones((1, 3))))


def closer(train, holdout, train_vendors, holdout_vendors, repeats=200):
    lots = [RNG.random((repeats, len(vendors))) for vendors in (train_vendors, holdout_vendors)]
    return closer_share(train, holdout, np.array(train_vendors), np.array(holdout_vendors), *lots)


def test_closer_share_of_chance_copies_and_hold_out():
    train, holdout = RNG.random((40, 500)), RNG.random((10, 500))
    vendors = ["A"] * 40, ["A"] * 10
    assert closer(train, holdout, *vendors) == pytest.approx(0.5, abs=0.05)
    assert closer(train + 1, holdout, *vendors) == 0
    assert closer(train, holdout + 1, *vendors) == 1
    assert closer(train, train, ["A"] * 40, ["A"] * 40, repeats=1) == 0.5  # ties


def test_without_matching_the_larger_set_would_win():
    train, holdout = RNG.random((40, 500)), RNG.random((10, 500))
    assert (train.min(axis=0) < holdout.min(axis=0)).mean() > 0.7


def test_vendors_are_matched():
    """Vendor B is nearer; it has half of the training patients but a tenth of the hold-out."""
    train, holdout = (RNG.random((20, 400)) + 2, RNG.random((10, 400)) + 2)
    train[10:] -= 1
    holdout[9:] -= 1
    matched = closer(train, holdout, ["A"] * 10 + ["B"] * 10, ["A"] * 9 + ["B"])
    assert matched == pytest.approx(0.5, abs=0.05)
    assert np.isnan(closer(train, holdout, ["A"] * 20, ["C"] * 10))


def test_full_leak_share_is_what_copies_give():
    """Each query is a copy of one of 20 patients; half of the patients are drawn."""
    train = RNG.random((20, 2000)) + 1
    train[np.arange(2000) % 20, np.arange(2000)] = 0
    holdout = RNG.random((10, 2000)) + 1
    vendors = np.array(["A"] * 20), np.array(["A"] * 10)
    assert full_leak_share(*vendors) == 0.75
    assert closer(train, holdout, *vendors) == pytest.approx(0.75, abs=0.02)


def test_copy_share():
    between = np.arange(1.0, 200.0)[None]  # 199 hold-out images: the second smallest distance is the 1 % quantile
    assert copy_share(np.array([[0.5, 1.99, 2.01, 50.0]]), between) == 0.5
    assert np.isnan(copy_share(np.empty((0, 2)), np.empty((0, 2))))


@pytest.mark.parametrize("images", [99, 199, 250])
def test_innocent_images_are_called_copies_at_one_percent(images):
    shares = [copy_share(RNG.random((1, 1000)), RNG.random((1, images))) for _ in range(400)]
    assert np.mean(shares) == pytest.approx(0.01, abs=0.002)
