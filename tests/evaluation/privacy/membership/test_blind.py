import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmr.errors import DataError
from evaluation.privacy.membership.blind import STEEPNESS, blind_features, blind_mask_features
from evaluation.privacy.membership.figures import blind_auc
from evaluation.statistics import IntervalSettings
from tests.evaluation.hearts import hearts

INTERVALS = IntervalSettings(bootstrap=200, permutations=1, confidence=0.95)
PATIENTS = np.repeat(np.arange(12), 5)


def images(seed, blur=1.0, level=0.0, count=60, size=32):
    texture = gaussian_filter(np.random.default_rng(seed).normal(size=(count, size, size)), (0, blur, blur))
    return np.clip(level + 0.3 * texture / texture.std(), -1, 1)


def auc(first, second, features=blind_features):
    names = [np.char.add(side, PATIENTS.astype(str)) for side in ("a", "b")]
    return blind_auc(features(first), names[0], features(second), names[1], intervals=INTERVALS, seed=0)


@pytest.mark.parametrize("other", [{"blur": 1.2}, {"level": 0.1}], ids=["sharpness", "brightness"])
def test_pictures_of_another_kind_are_told_apart(other):
    found = auc(images(0), images(1, **other))
    assert found.value > 0.95
    assert found.ci_low > 0.7  # all of 12 against 12 patients told apart is no surer than 0.025^(1/12)


def test_pictures_of_one_kind_are_not():
    found = [auc(images(seed), images(seed + 1)) for seed in (10, 20, 30)]
    assert all(figure.ci_low <= 0.5 for figure in found)
    assert np.mean([figure.value for figure in found]) == pytest.approx(0.5, abs=0.12)


def test_masks_of_another_kind_are_told_apart():
    small, large = hearts(60, seed=0, size=32), hearts(60, seed=1, size=48)[:, 8:40, 8:40]
    assert auc(small, large, blind_mask_features).ci_low > 0.7
    assert auc(small, hearts(60, seed=2, size=32), blind_mask_features).ci_low <= 0.5


def test_a_picture_has_its_features_whatever_the_others():
    whole = images(0, count=4)
    assert blind_features(whole)[2:3] == pytest.approx(blind_features(whole[2:3]))


@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
def test_even_pictures_have_features_too(level):
    found = blind_features(np.full((2, 32, 32), level))
    assert np.isfinite(found).all()
    assert found[:, -16:] == pytest.approx((level + 1) / 2)  # the thumbnail


def test_a_wave_is_in_its_ring():
    wave = np.cos(2 * np.pi * 10 * np.arange(64) / 64)  # of the highest frequency 32
    spectrum = blind_features(np.tile(wave, (1, 64, 1)))[0, 16:32]
    assert spectrum.argmax() == 5


def test_unusable_pictures_are_an_error():
    with pytest.raises(DataError, match="attacked images: 1 hold"):
        blind_features(np.full((1, 32, 32), np.nan))
    with pytest.raises(DataError, match="at least 4 a side"):
        blind_features(np.zeros((1, 3, 3)))
    with pytest.raises(DataError, match="attacked masks: labels"):
        blind_mask_features(np.full((1, 32, 32), 7))


def test_noise_and_edges_are_in_the_sizes_of_differences():
    ramp = np.tile(np.linspace(-1, 1, 33)[:32], (1, 32, 1))  # steps of 1/32 to the right, none down
    down, right = blind_features(ramp)[0, 288:320].reshape(2, 16)
    assert down[0] == 1
    assert right.argmax() == np.searchsorted(STEEPNESS, 1 / 32) - 1
    assert right.max() == 1
