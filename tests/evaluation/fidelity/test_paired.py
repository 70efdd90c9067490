import numpy as np
import pytest

from cmr.errors import DataError
from evaluation.fidelity.paired import PAIRED, closest_masks, paired_figures
from evaluation.statistics import IntervalSettings
from tests.evaluation.hearts import hearts

SETTINGS = IntervalSettings(bootstrap=200, permutations=1, confidence=0.95)
PATIENTS = np.repeat(["a", "b", "c"], 3)


@pytest.fixture
def masks():
    return hearts(9, seed=0)


@pytest.fixture
def real(masks):
    noise = np.random.default_rng(0).normal(scale=0.1, size=masks.shape)
    return np.clip(np.array([-0.8, 0.8, -0.3, 0.6])[masks] + noise, -1, 1)


def figures(real, synthetic, masks, patients=PATIENTS):
    return paired_figures(real, synthetic, masks=masks, subjects=patients, intervals=SETTINGS, seed=0)


def test_copies_are_perfect_and_the_floor_is_worse(real, masks):
    found = figures(real, real, masks)
    assert (found["ssim"].value, found["ms_ssim"].value, found["psnr"].value) == pytest.approx((1, 1, 100))
    assert set(found["floor"]) == set(PAIRED)
    for name in PAIRED:
        assert found["floor"][name].value < found[name].value
        assert found[name].n == 9


def test_noise_is_worse_than_the_floor(real, masks):
    found = figures(real, np.random.default_rng(1).uniform(-1, 1, real.shape), masks)
    for name in PAIRED:
        assert found[name].ci_high < found["floor"][name].value


def test_psnr_is_computed_on_the_unit_range(real, masks):
    flat = np.zeros_like(real)
    assert figures(flat, flat + 0.2, masks)["psnr"].value == pytest.approx(20, abs=1e-3)  # 0.1 of the range [0, 1]


def test_the_floor_never_pairs_a_patient_with_itself(masks):
    doubled = np.concatenate([masks, masks])
    patients = np.concatenate([PATIENTS, np.repeat(["d", "e", "f"], 3)])
    closest = closest_masks(doubled, patients)
    assert (patients[closest] != patients).all()
    assert (doubled[closest] == doubled).all()  # the twin under another name is the most similar
    assert closest_masks(masks, np.full(9, "a")).tolist() == [-1] * 9


def test_one_patient_has_neither_interval_nor_floor(real, masks):
    found = figures(real, real, masks, np.full(9, "a"))
    assert found["ssim"].ci_low is None
    assert "only one" in found["floor"]["ssim"].reason


def test_unusable_input_is_an_error(real, masks):
    broken = real.copy()
    broken[3, 0, 0] = np.nan
    with pytest.raises(DataError, match="synthetic images: 1 hold values that are not finite"):
        figures(real, broken, masks)
    with pytest.raises(DataError, match="same number and size"):
        figures(real, real[:, :32, :32], masks)
