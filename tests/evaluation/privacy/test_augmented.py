import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, rotate

from cmr.errors import DataError
from evaluation.privacy.augmented import TRANSFORMS, augmented_distances, inscribed_disc, transformed
from evaluation.privacy.search import image_distance

SIZE = 32
IMAGES = gaussian_filter(np.random.default_rng(0).normal(size=(6, SIZE, SIZE)), (0, 2, 2))
SUBJECTS = np.array(["a", "a", "b", "b", "c", "c"])


def sets():
    return dict(zip(TRANSFORMS, transformed(IMAGES), strict=True))


def test_the_symmetries_are_eight_different_ones():
    eight = list(sets().values())[:8]
    assert all(np.sort(one, axis=None) == pytest.approx(np.sort(IMAGES, axis=None)) for one in eight)
    assert len({one[0].tobytes() for one in eight}) == 8


def test_names_are_what_they_say():
    turned = sets()
    assert (turned["as it is"] == IMAGES).all()
    assert (turned["rotated by 180°"] == turned["flipped left to right"][:, ::-1]).all()
    for angle in (90, 180, 270):
        assert turned[f"rotated by {angle}°"] == pytest.approx(
            rotate(IMAGES, angle, axes=(1, 2), reshape=False, order=1), abs=1e-9
        )
    back = rotate(turned["rotated by 15°"], -15, axes=(1, 2), reshape=False, order=1)
    disc = inscribed_disc(SIZE)
    assert np.corrcoef(back[:, disc].ravel(), IMAGES[:, disc].ravel())[0, 1] > 0.97


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_transformed_copy_is_found_with_its_transform(transform):
    queries = sets()[transform]
    found = augmented_distances(queries, IMAGES, SUBJECTS, block=4)
    kind, row = np.divmod(found.nearest_row(), len(IMAGES))
    assert found.nearest.min(axis=0) == pytest.approx(np.zeros(6), abs=1e-9)
    assert row.tolist() == list(range(6))
    assert {TRANSFORMS[number] for number in kind} == {transform}


def test_a_rotation_between_the_angles_is_near():
    between = rotate(IMAGES, 7.5, axes=(1, 2), reshape=False, order=1, mode="nearest")
    found = augmented_distances(between, IMAGES, SUBJECTS, block=4)
    disc = inscribed_disc(SIZE)
    plain = np.diag(image_distance(between[:, disc], IMAGES[:, disc]))
    assert (found.nearest_row() % 6).tolist() == list(range(6))
    assert (found.nearest.min(axis=0) < 0.5 * plain).all()


def test_it_equals_a_plain_search_of_all_transformed_images():
    queries = gaussian_filter(np.random.default_rng(1).normal(size=(5, SIZE, SIZE)), (0, 2, 2))
    found = augmented_distances(queries, IMAGES, SUBJECTS, block=3)
    disc = inscribed_disc(SIZE)
    every = np.concatenate(list(transformed(IMAGES)))
    distances = image_distance(queries[:, disc], every[:, disc])
    owners = np.tile(SUBJECTS, len(TRANSFORMS))
    for number, patient in enumerate(found.patients):
        own = np.sort(distances[:, owners == patient], axis=1)
        assert found.nearest[number] == pytest.approx(own[:, 0])
        assert found.second[number] == pytest.approx(own[:, 1])
        assert distances[np.arange(5), found.row[number]] == pytest.approx(own[:, 0])


def test_images_must_be_square():
    with pytest.raises(DataError, match="as many rows as columns"):
        augmented_distances(np.zeros((1, 4, 6)), np.zeros((1, 4, 6)), np.array(["a"]), block=4)
