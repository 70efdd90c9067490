import numpy as np
import pytest

from evaluation.overlap import dice
from evaluation.privacy import search
from evaluation.privacy.search import (
    dice_distance,
    image_distance,
    mask_distance,
    paired_squared_distance,
    patient_distances,
    squared_distance,
)
from tests.evaluation.hearts import hearts

RNG = np.random.default_rng(0)
SUBJECTS = np.array(["c", "a", "b", "a", "c", "a", "b", "d"])


def brute_force(first, second):
    return np.array([[np.linalg.norm(a.astype(float) - b) for b in second] for a in first])


def test_image_distance_is_the_norm_of_the_difference():
    first, second = (RNG.random((count, 16, 16)).astype(np.float32) for count in (5, 7))
    assert image_distance(first, second) == pytest.approx(brute_force(first, second), rel=1e-6)


def test_distances_keep_their_digits_however_near_the_images_are():
    """From unlike images to all but copies, where a product in float32, and then one in float64, has none left."""
    first = (RNG.random((2, 64, 64)) - 0.5).astype(np.float32)
    steps = 10.0 ** -np.arange(0, 7)
    second = np.array([first[0] + step * (RNG.random((64, 64)) - 0.5) for step in steps], dtype=np.float32)
    assert image_distance(first, second) == pytest.approx(brute_force(first, second), rel=2e-5)
    assert image_distance(second, first) == pytest.approx(brute_force(second, first), rel=2e-5)


def test_copies_are_at_zero_and_near_copies_where_they_are():
    images = RNG.random((4, 64, 64)).astype(np.float32)
    assert (np.diag(image_distance(images, images)) == 0).all()
    nudged = images.astype(np.float64)
    nudged[:, 5, 5] += 1e-5
    assert np.diag(image_distance(nudged, images)) == pytest.approx(np.full(4, 1e-5), rel=1e-6)


def test_mask_distance_is_that_of_one_hot_masks():
    first, second = hearts(3, seed=0), hearts(4, seed=1)
    one_hot = np.eye(4)
    assert mask_distance(first, second) == pytest.approx(brute_force(one_hot[first], one_hot[second]))
    assert np.diag(mask_distance(first, first)).tolist() == [0, 0, 0]


def test_dice_distance():
    masks = hearts(3, seed=0)
    assert np.diag(dice_distance(masks, masks)) == pytest.approx(np.zeros(3))
    expected = 1 - np.mean([dice(masks[0] == label, masks[1] == label) for label in (1, 2, 3)])
    assert dice_distance(masks[:1], masks[1:2]).item() == pytest.approx(expected)


@pytest.mark.parametrize("block", [1, 3, 100])
def test_search_equals_brute_force_whatever_the_block(block):
    queries, reference = RNG.random((5, 8, 8)), RNG.random((8, 8, 8))
    found = patient_distances(queries, reference, SUBJECTS, distance=image_distance, block=block)
    assert found.patients.tolist() == ["a", "b", "c", "d"]
    distances = brute_force(queries, reference)
    for number, patient in enumerate(found.patients):
        own = np.sort(distances[:, patient == SUBJECTS], axis=1)
        assert found.nearest[number] == pytest.approx(own[:, 0])
        assert found.second[number] == pytest.approx(own[:, 1] if own.shape[1] > 1 else np.full(5, np.inf))
        assert distances[np.arange(5), found.row[number]] == pytest.approx(own[:, 0])
        assert (SUBJECTS[found.row[number]] == patient).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_search_in_stored_features_equals_brute_force(dtype, tmp_path, monkeypatch):
    """Features wider than what is multiplied at once, read from disk; the nearest two patients are the true ones."""
    monkeypatch.setattr(search, "COLUMNS", 100)
    matrix = RNG.normal(size=(64, 1030))
    images = {name: RNG.random((count, 8, 8)) for name, count in (("queries", 6), ("reference", 8))}
    stored = {}
    for name, one in images.items():
        np.save(tmp_path / name, (one.reshape(len(one), -1) @ matrix).astype(dtype))
        stored[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    found = patient_distances(stored["queries"], stored["reference"], SUBJECTS, distance=squared_distance, block=4)
    true = brute_force(stored["queries"], stored["reference"]) ** 2
    assert (found.nearest_row() == true.argmin(axis=1)).all()
    for query, line in enumerate(true):
        owner = SUBJECTS[line.argmin()]
        others = np.where(owner == SUBJECTS, np.inf, line)
        two = np.sort(found.nearest[:, query])[:2]
        assert two == pytest.approx([line.min(), others.min()], rel=1e-6)
        assert found.row[found.nearest[:, query].argsort()[1], query] == others.argmin()
    assert paired_squared_distance(stored["queries"], stored["reference"], found.nearest_row()) == pytest.approx(
        true.min(axis=1)
    )
