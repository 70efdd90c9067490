from dataclasses import replace

import numpy as np
import pytest

from cmr.errors import DataError
from evaluation.figure import Figure
from evaluation.privacy.neighbours import Cohort, NeighbourSettings, mask_neighbour_figures, neighbour_figures
from evaluation.statistics import IntervalSettings
from tests.evaluation.hearts import hearts

SETTINGS = NeighbourSettings(block=64)
INTERVALS = IntervalSettings(bootstrap=100, permutations=200, confidence=0.95)


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
TEST = cohort(patients_images(10, seed=4), "u", 10)


def figures(synthetic, train=TRAIN, holdout=HOLDOUT, names=None, settings=SETTINGS, **others):
    names = np.array([f"synthetic-{i}" for i in range(len(synthetic))]) if names is None else names
    return neighbour_figures(synthetic, names, train, holdout, settings=settings, intervals=INTERVALS, seed=0, **others)


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


def test_a_leak_is_seen_whole_with_a_small_hold_out_too():
    found, _ = figures(TRAIN.arrays, holdout=SMALL_HOLDOUT)
    assert found["closer_to_train"].value == 1
    assert found["closer_to_train"].ci_low > 0.5
    assert found["closer_to_train_p_value"].value < 0.05
    assert found["copies"].value == 1


def test_hold_out_images_are_not_flagged():
    found, pairs = figures(HOLDOUT.arrays)
    assert found["closer_to_train"].value < 0.01
    assert found["copies"].value < 0.05
    assert found["nn_l2_holdout"].value == 0
    assert (pairs["holdout_distance"] == 0).all()


def test_new_patients_are_at_chance_and_at_the_floor():
    found, _ = figures(patients_images(40, seed=3, each=2))
    closer, null = found["closer_to_train"], found["closer_to_train_null"]
    assert closer.ci_low < 0.5 < closer.ci_high
    assert null.ci_low < closer.value < null.ci_high
    assert null.value == pytest.approx(0.5, abs=0.05)
    assert found["copies"].value < 0.05
    assert found["nn_l2"].value == pytest.approx(found["floor"]["nn_l2"].value, rel=0.1)
    assert found["nndr"].value > 0.8


def flat(images, file):
    """Features whose squared distance is the squared L2 distance of the [0, 1] pixels."""
    np.save(file, images.reshape(len(images), -1) / 2)
    return np.load(file, mmap_mode="r")


def test_all_names_are_there_with_intervals():
    found, pairs = figures(patients_images(10, seed=3), test=TEST, lpips=flat)
    near = {"nn_l2", "nn_l2_holdout", "nndr", "nndr_paper", "nn_lpips", "nn_lpips_holdout", "nn_lpips_paper"}
    leak = {"closer_to_train", "closer_to_train_null", "closer_to_train_over_floor", "copies", "c_t", "nearer_than_holdout"}
    floor = {"closer_to_train", "copies", "c_t", "nearer_than_holdout"}
    extra = {"closer_to_train_p_value", "c_t_cells", "floor"}
    assert set(found) == near | leak | extra | {"augmented", "lpips"}
    assert set(found["floor"]) == floor | {"nn_l2", "nndr", "nndr_paper", "nn_lpips"}
    assert set(found["augmented"]) == leak | extra
    assert set(found["augmented"]["floor"]) == floor
    assert set(found["lpips"]) == leak | extra | {"nndr"}
    assert set(found["lpips"]["floor"]) == floor | {"nndr"}
    for tree, names in ((found, near | leak), (found["augmented"], leak), (found["lpips"], leak)):
        for name in names:
            assert tree[name].ci_low <= tree[name].value <= tree[name].ci_high, name
            assert tree[name].n == 60
        assert all(tree["floor"][name].n == len(TEST.arrays) for name in floor)
    assert list(pairs.columns) == [
        *("synthetic", "train", "train_distance", "holdout", "holdout_distance"),
        *("augmented_train", "transform", "augmented_distance"),
    ]
    assert pairs["train_distance"].is_monotonic_increasing


def test_lpips_is_searched_like_l2():
    """With features whose squared distance is the square of L2, every neighbour is the same."""
    found, _ = figures(patients_images(5, seed=3), test=TEST, lpips=flat)
    for name in ("closer_to_train", "copies", "c_t"):
        assert found["lpips"][name].value == pytest.approx(found[name].value, abs=1e-6)
    assert found["nn_lpips_paper"].value == pytest.approx(found["nn_lpips"].value)
    assert found["nn_lpips"].value == pytest.approx(found["nn_l2"].value ** 2, rel=0.1)


def test_without_test_images_or_lpips_the_reason_is_given():
    found, _ = figures(patients_images(4, seed=3), lpips="the weights are not here")
    assert found["nn_lpips"].reason == found["floor"]["nn_lpips"].reason == "the weights are not here"
    assert "test set" in found["floor"]["closer_to_train"].reason
    assert "test set" in found["closer_to_train_over_floor"].reason
    assert "lpips" not in found


def test_images_of_test_patients_are_at_their_floor():
    found, _ = figures(TEST.arrays, test=TEST)
    assert found["closer_to_train_over_floor"].value == 0
    assert found["copies"].value == found["floor"]["copies"].value
    assert found["c_t"].value == found["floor"]["c_t"].value


def test_too_few_hold_out_images_for_c_t():
    few = Cohort(HOLDOUT.arrays[:7], HOLDOUT.subjects[:7], HOLDOUT.vendors[:7])
    found, _ = figures(patients_images(4, seed=3), holdout=few)
    assert found["c_t"].value is None
    assert "8 hold-out images" in found["c_t"].reason
    assert found["c_t_cells"] == {}


def test_no_shared_vendor_has_no_share():
    found, _ = figures(HOLDOUT.arrays, train=replace(TRAIN, vendors=np.repeat("C", 72)))
    assert found["closer_to_train"].value is None
    assert found["closer_to_train_null"].value is None
    assert found["copies"].value is not None


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
    one, other = (figures(synthetic, settings=NeighbourSettings(block=block))[0] for block in (5, 500))
    for name in ("nn_l2", "nndr", "nndr_paper", "closer_to_train", "copies"):
        assert one[name].value == pytest.approx(other[name].value, rel=1e-5)
        assert one[name].ci_high == pytest.approx(other[name].ci_high, rel=1e-5)


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
    with pytest.raises(DataError, match="in training and in the test"):
        figures(HOLDOUT.arrays, test=TRAIN)
    with pytest.raises(DataError, match="synthetic images: 6 hold"):
        figures(np.full((6, 16, 16), np.nan))
    with pytest.raises(DataError, match="synthetic set is empty"):
        figures(np.empty((0, 16, 16)))
    with pytest.raises(DataError, match="training size"):
        figures(np.zeros((2, 8, 8)))
    with pytest.raises(DataError, match="at least 1"):
        NeighbourSettings(block=0)
