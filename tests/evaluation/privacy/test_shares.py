import numpy as np
import pytest

from evaluation.privacy.shares import closer_share, copy_share, mean_nearest, ratio, relabelled_shares

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


def test_closer_share_is_votes_a_patient():
    """Two of three votes go to three training patients, one to the single hold-out patient: 2/3 against 1 vote a patient."""
    train, holdout = np.full((3, 3), 9.0), np.full((1, 3), 5.0)
    train[0, 0] = train[2, 1] = 1
    assert closer_share(train, holdout, np.repeat("A", 3), np.array(["A"])) == pytest.approx((2 / 3) / (2 / 3 + 1))


def test_closer_share_of_chance_copies_and_hold_out():
    vendors = np.repeat("A", 40), np.repeat("A", 10)
    train, holdout = RNG.random((40, 5000)), RNG.random((10, 5000))
    assert closer_share(train, holdout, *vendors) == pytest.approx(0.5, abs=0.03)
    assert closer_share(train + 1, holdout, *vendors) == 0
    assert closer_share(train, holdout + 1, *vendors) == 1  # all copies, whoever is copied
    assert closer_share(train, train, vendors[0], vendors[0]) == 0.5  # ties
    assert np.isnan(closer_share(train[:, :0], holdout[:, :0], *vendors))


def test_vendors_are_matched():
    """Vendor B is nearer; it has half of the training patients but a tenth of the hold-out."""
    train, holdout = (RNG.random((20, 4000)) + 2, RNG.random((10, 4000)) + 2)
    train[10:] -= 1
    holdout[9:] -= 1
    matched = closer_share(train, holdout, np.repeat(["A", "B"], 10), np.array(["A"] * 9 + ["B"]))
    assert matched == pytest.approx(0.5, abs=0.05)
    assert np.isnan(closer_share(train, holdout, np.repeat("A", 20), np.repeat("C", 10)))


def test_patients_of_a_vendor_without_a_counterpart_do_not_vote():
    train, holdout = RNG.random((4, 50)), RNG.random((4, 50))
    stranger = np.zeros((1, 50))
    vendors = np.repeat("A", 4)
    with_stranger = closer_share(np.vstack([train, stranger]), holdout, np.append(vendors, "Z"), vendors)
    assert with_stranger == closer_share(train, holdout, vendors, vendors)


def test_other_draws_tell_a_popular_patient_from_memory():
    """One patient, everybody's neighbour, is in training by chance: the share is high, and so it would often have been."""
    train, holdout = RNG.random((20, 400)) + 1, RNG.random((10, 400)) + 1
    train[3, :240] = 0
    vendors = np.repeat("A", 20), np.repeat("A", 10)
    share, draws = closer_share(train, holdout, *vendors), relabelled_shares(train, holdout, *vendors, draws=500, seed=0)
    assert share > 0.6
    assert np.mean(draws >= share) > 0.2
    leak = RNG.random((20, 400)) + 1
    leak[np.arange(400) % 20, np.arange(400)] = 0
    assert max(relabelled_shares(leak, holdout, *vendors, draws=500, seed=0)) < closer_share(leak, holdout, *vendors) == 1


def test_innocent_images_are_rarely_called_closer():
    """p-values of images that do not depend on the draw are uniform, with popular patients and two vendors too."""
    rng, hits = np.random.default_rng(1), 0
    vendors = np.repeat(["A", "B"], [6, 10]), np.repeat(["A", "B"], [4, 3])
    for repeat in range(200):
        popularity = rng.exponential(size=(23, 1))
        distances = rng.random((23, 60)) + popularity
        sides = distances[:16], distances[16:]
        draws = relabelled_shares(*sides, *vendors, draws=99, seed=repeat)
        hits += (1 + np.sum(draws >= closer_share(*sides, *vendors))) / 100 <= 0.1
    assert hits / 200 == pytest.approx(0.1, abs=0.06)


def test_copy_share():
    between = np.arange(1.0, 200.0)[None]  # 199 hold-out images: the second smallest distance is the 1 % quantile
    assert copy_share(np.array([[0.5, 1.99, 2.01, 50.0]]), between) == 0.5
    assert np.isnan(copy_share(np.empty((0, 2)), np.empty((0, 2))))


@pytest.mark.parametrize("images", [99, 199, 250])
def test_innocent_images_are_called_copies_at_one_percent(images):
    shares = [copy_share(RNG.random((1, 1000)), RNG.random((1, images))) for _ in range(400)]
    assert np.mean(shares) == pytest.approx(0.01, abs=0.002)
