from dataclasses import replace

import numpy as np
import pytest

from cmr.errors import DataError
from evaluation.figure import Figure
from evaluation.privacy.neighbours import Cohort, NeighbourSettings, mask_neighbour_figures, neighbour_figures
from evaluation.statistics import IntervalSettings
from tests.evaluation.hearts import hearts

SETTINGS = NeighbourSettings(repeats=20, block=16)
INTERVALS = IntervalSettings(bootstrap=10, permutations=10, confidence=0.95)


def patients_images(patients, seed, each=6, size=16):
    """Images of patients: slices of one patient resemble each other."""
    rng = np.random.default_rng(seed)
    faces = rng.normal(scale=0.25, size=(patients, 1, size, size))
    return np.clip(faces + rng.normal(scale=0.15, size=(patients, each, size, size)), -1, 1).reshape(-1, size, size)


def cohort(arrays, name, patients):
    subjects = np.repeat([f"{name}{i}" for i in range(patients)], len(arrays) // patients)
    vendors = np.repeat(["A", "B"], len(arrays) // 2)
    return Cohort(arrays, subjects, vendors)


TRAIN = cohort(patients_images(12, seed=0), "t", 12)
HOLDOUT = cohort(patients_images(12, seed=1), "h", 12)
SMALL_HOLDOUT = cohort(patients_images(4, seed=1), "h", 4)


def figures(synthetic, train=TRAIN, holdout=HOLDOUT, names=None, settings=SETTINGS):
    names = np.array([f"synthetic-{i}" for i in range(len(synthetic))]) if names is None else names
    return neighbour_figures(synthetic, names, train, holdout, settings=settings, intervals=INTERVALS, seed=0)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_planted_leak_is_flagged(noise):
    leak = np.clip(TRAIN.arrays + noise * np.random.default_rng(2).normal(size=TRAIN.arrays.shape), -1, 1)
    found, pairs = figures(leak)
    assert found["closer_to_train"].value > 0.99
    assert found["copies"].value == 1
    assert found["copies"].ci_low > 0.9
    assert found["nndr"].value < 0.3
    assert found["nn_l2"].value < 0.2 * found["nn_l2_holdout"].value
    assert (pairs["synthetic"] == pairs["train"]).all()
    if noise == 0:
        assert found["nn_l2"].value == found["nndr"].value == 0
        assert (pairs["train_distance"] == 0).all()


def test_a_leak_with_a_small_hold_out_is_flagged_as_far_as_it_can_be():
    found, _ = figures(TRAIN.arrays, holdout=SMALL_HOLDOUT)
    assert found["closer_to_train_full_leak"].value == pytest.approx((1 + 4 / 12) / 2)
    assert found["closer_to_train"].value > 0.55
    assert found["copies"].value == 1


def test_hold_out_images_are_not_flagged():
    found, pairs = figures(HOLDOUT.arrays)
    assert found["closer_to_train"].value < 0.01
    assert found["copies"].value < 0.05
    assert found["nn_l2_holdout"].value == 0
    assert (pairs["holdout_distance"] == 0).all()


def test_new_patients_are_at_chance_and_at_the_floor():
    found, _ = figures(patients_images(40, seed=3, each=2))
    closer = found["closer_to_train"]
    assert closer.ci_low < 0.5 < closer.ci_high
    assert found["copies"].value < 0.05
    assert found["nn_l2"].value == pytest.approx(found["floor"]["nn_l2"].value, rel=0.1)
    assert found["nndr"].value > 0.8


def test_all_names_are_there_with_intervals():
    found, pairs = figures(patients_images(10, seed=3))
    names = {"nn_l2", "nndr", "nndr_paper", "nn_l2_holdout", "closer_to_train", "copies"}
    assert set(found) == names | {"closer_to_train_full_leak", "floor"}
    assert set(found["floor"]) == {"nn_l2", "nndr", "nndr_paper"}
    for name in names:
        assert found[name].ci_low <= found[name].value <= found[name].ci_high
        assert found[name].n == 60
    assert list(pairs.columns) == ["synthetic", "train", "train_distance", "holdout", "holdout_distance"]
    assert pairs["train_distance"].is_monotonic_increasing


def test_figures_are_the_definitions():
    synthetic = patients_images(3, seed=5)
    found, pairs = figures(synthetic)
    distances = np.array([[np.linalg.norm(a - b) / 2 for b in TRAIN.arrays] for a in synthetic])
    nearest, order = distances.min(axis=1), np.sort(distances, axis=1)
    owner = TRAIN.subjects[distances.argmin(axis=1)]
    others = np.where(TRAIN.subjects == owner[:, None], np.inf, distances).min(axis=1)
    assert found["nn_l2"].value == pytest.approx(nearest.mean(), rel=1e-5)
    assert found["nndr"].value == pytest.approx((nearest / others).mean(), rel=1e-5)
    assert found["nndr_paper"].value == pytest.approx((order[:, 0] / order[:, 1]).mean(), rel=1e-5)
    assert pairs.iloc[0]["train_distance"] == pytest.approx(nearest.min(), rel=1e-5)


def test_the_block_changes_nothing():
    synthetic = patients_images(3, seed=5)
    one, other = (figures(synthetic, settings=NeighbourSettings(repeats=20, block=block))[0] for block in (5, 500))
    for name in ("nn_l2", "nndr", "nndr_paper", "closer_to_train", "copies"):
        assert one[name].value == pytest.approx(other[name].value, rel=1e-9)
        assert one[name].ci_high == pytest.approx(other[name].ci_high, rel=1e-6)


def test_images_of_one_mask_patient_leave_together():
    """The same images count for less when they are said to come from three patients."""
    synthetic = np.repeat(patients_images(3, seed=6, each=1), 20, axis=0)
    apart = figures(synthetic)[0]["nn_l2"]
    together = figures(synthetic, names=TRAIN.subjects[np.repeat([0, 6, 12], 20)])[0]["nn_l2"]
    assert together.value == apart.value
    assert together.ci_high - together.ci_low > apart.ci_high - apart.ci_low


def test_one_training_patient_has_no_ratio():
    single = cohort(TRAIN.arrays[:6], "t", 1)
    found, _ = figures(HOLDOUT.arrays[:4], train=replace(single, vendors=np.repeat("A", 6)))
    assert found["nndr"].value is None
    assert found["nn_l2"].value is not None
    assert found["nn_l2"].ci_low is None


def test_masks_have_dice_in_place_of_lpips():
    train, holdout = cohort(hearts(24, seed=0), "t", 8), cohort(hearts(24, seed=1), "h", 8)
    names = np.array([f"synthetic-{i}" for i in range(24)])

    def found(masks):
        return mask_neighbour_figures(masks, names, train, holdout, settings=SETTINGS, intervals=INTERVALS, seed=0)[0]

    copied, fresh = found(train.arrays), found(hearts(24, seed=2))
    assert copied["nn_l2"].value == copied["nn_dice"].value == 0
    assert copied["copies"].value == 1
    assert copied["closer_to_train"].value > 0.99
    assert fresh["nn_dice"].ci_low > 0
    assert fresh["nn_dice"].value < 1
    assert isinstance(fresh["nn_dice_holdout"], Figure)
    assert isinstance(fresh["floor"]["nn_dice"], Figure)


def test_unusable_input_is_an_error():
    with pytest.raises(DataError, match="training and in the hold-out"):
        figures(HOLDOUT.arrays, holdout=TRAIN)
    with pytest.raises(DataError, match="synthetic images: 6 hold"):
        figures(np.full((6, 16, 16), np.nan))
    with pytest.raises(DataError, match="synthetic set is empty"):
        figures(np.empty((0, 16, 16)))
    with pytest.raises(DataError, match="training size"):
        figures(np.zeros((2, 8, 8)))
    with pytest.raises(DataError, match="at least 1"):
        NeighbourSettings(repeats=0, block=1)
