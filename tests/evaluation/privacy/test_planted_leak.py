"""A "generator" that returns training images must be flagged, one that returns other real images must not."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, rotate

from cmr.labels import BACKGROUND
from cmr.preprocess import N4Settings, PreprocessSettings, preprocess_subject
from cmr.readers import READERS
from cmr.slices import crop, heart_window, scale
from evaluation.privacy.neighbours import Cohort, NeighbourSettings, neighbour_figures
from evaluation.statistics import IntervalSettings

ROOT = os.environ.get("SYNCMRI_REAL_DATA", "")
SETTINGS = NeighbourSettings(block=512)
INTERVALS = IntervalSettings(bootstrap=100, permutations=400, confidence=0.95)
SIZE = 32


def slightly_rotated(images):
    return np.clip(rotate(images, 7, axes=(1, 2), reshape=False, order=1, mode="nearest"), -1, 1)


def noisy(images):
    return np.clip(images + 0.05 * np.random.default_rng(9).normal(size=images.shape), -1, 1)


LEAKS = {
    "plain": lambda images: images,
    "noisy": noisy,
    "flipped": lambda images: images[:, :, ::-1],
    "rotated": slightly_rotated,
}


def phantom(name, patients, seed, each=8):
    """Images of patients: smooth, the slices of one patient alike, all patients with something in common, and two vendors."""
    rng = np.random.default_rng(seed)

    def smooth(*shape):
        field = gaussian_filter(rng.normal(size=(*shape, SIZE, SIZE)), (*(0 for _ in shape), 2, 2))
        return field / field.std()

    everybody = gaussian_filter(np.random.default_rng(99).normal(size=(SIZE, SIZE)), 3) * 2
    images = np.tanh(0.7 * (everybody + 0.6 * smooth(patients, 1) + 0.4 * smooth(patients, each)))
    subjects = np.repeat([f"{name}{number}" for number in range(patients)], each)
    return Cohort(images.reshape(-1, SIZE, SIZE), subjects, np.where(np.arange(subjects.size) % (2 * each) < each, "A", "B"))


@pytest.fixture(scope="module")
def phantoms():
    return {"train": phantom("t", 20, 0), "holdout": phantom("h", 12, 1), "test": phantom("u", 10, 2)}


@pytest.fixture(scope="module")
def patients():
    """Slices of 64 pixels of real M&Ms patients, without bias correction: quick to make."""
    fast, spacing = PreprocessSettings(N4Settings(1, ()), workers=1), 160 / 64
    everybody = list(READERS["mnms"](Path(ROOT) / "mnms", "mnms").subjects())
    chosen = np.random.default_rng(0).permutation(len(everybody))[:42]
    cohorts = {}
    for name, members in (("train", chosen[:20]), ("holdout", chosen[20:32]), ("test", chosen[32:])):
        images, subjects = [], []
        for subject in (everybody[member] for member in members):
            for frame in preprocess_subject(subject, fast, spacing):
                for plane, label in zip(frame.image, frame.label, strict=True):
                    if (label != BACKGROUND).any():
                        row, column, _ = heart_window(label != BACKGROUND, 64)
                        images.append(crop(plane, row, column, 64, plane.min()))
                        subjects.append(subject.id)
        cohorts[name] = Cohort(scale(np.stack(images), (1, 99)), np.array(subjects), np.repeat("any", len(images)))
    return cohorts


def figures(images, cohorts):
    names = np.array([f"synthetic-{number}" for number in range(len(images))])
    train, holdout, test = (cohorts[name] for name in ("train", "holdout", "test"))
    return neighbour_figures(
        np.asarray(images, np.float32), names, train, holdout, test=test, settings=SETTINGS, intervals=INTERVALS, seed=0
    )[0]


def check_leak(how, cohorts):
    found = figures(LEAKS[how](np.asarray(cohorts["train"].arrays, np.float32)), cohorts)
    for kind in (found["augmented"],) if how in ("flipped", "rotated") else (found, found["augmented"]):
        assert kind["copies"].ci_low > 0.5
        assert kind["closer_to_train"].ci_low > kind["closer_to_train_null"].ci_high
        assert kind["closer_to_train_p_value"].value < 0.01
        assert kind["c_t"].ci_high < -3
        assert kind["nearer_than_holdout"].ci_low > 0.6


def check_innocent(who, cohorts):
    found = figures(cohorts[who].arrays, cohorts)
    for kind in (found, found["augmented"]):
        assert kind["copies"].value < 0.05
        assert kind["closer_to_train"].ci_low < kind["closer_to_train_null"].ci_high
        assert kind["closer_to_train_p_value"].value > 0.01
        assert kind["c_t"].ci_high > 0


@pytest.mark.parametrize("how", LEAKS)
def test_a_planted_leak_of_phantoms_is_flagged(how, phantoms):
    check_leak(how, phantoms)


@pytest.mark.parametrize("who", ["holdout", "test"])
def test_phantoms_never_seen_are_not_flagged(who, phantoms):
    check_innocent(who, phantoms)


def test_one_copy_in_five_is_seen(phantoms):
    """The other images are of patients that nobody has seen."""
    mixed = np.concatenate([phantoms["train"].arrays[::8], phantom("f", 10, 5).arrays])
    found = figures(mixed, phantoms)
    assert found["copies"].value == pytest.approx(0.2, abs=0.03)
    assert found["copies"].ci_low > 0.05


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="SYNCMRI_REAL_DATA is not set")
@pytest.mark.parametrize("how", LEAKS)
def test_a_planted_leak_of_real_patients_is_flagged(how, patients):
    check_leak(how, patients)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="SYNCMRI_REAL_DATA is not set")
@pytest.mark.parametrize("who", ["holdout", "test"])
def test_real_patients_never_seen_are_not_flagged(who, patients):
    check_innocent(who, patients)
