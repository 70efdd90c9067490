"""Seeds of images, and which rows choose a segmenter's checkpoint."""

import numpy as np
import pandas as pd

from cmr.store import SliceStore
from pipelines.sampling import image_seeds
from pipelines.validation import validation_rows


def _store(subjects: list[str], splits: list[str]) -> SliceStore:
    index = pd.DataFrame({"subject": subjects, "split": splits})
    return SliceStore(np.zeros((len(index), 8, 8), np.uint8), index)


def test_an_image_keeps_its_seed_however_many_are_drawn():
    assert image_seeds(1, "full", 100)[:10] == image_seeds(1, "full", 10)


def test_seeds_differ_between_images_sources_and_runs_and_fit_a_signed_column():
    seeds = [seed for run in (1, 2) for source in ("full", "acdc") for seed in image_seeds(run, source, 500)]
    assert len(set(seeds)) == 2000
    assert max(seeds) < 2**63
    assert min(seeds) >= 0


def test_real_sets_are_validated_on_their_validation_patients():
    store = _store(["a", "a", "b", "c"], ["train", "train", "val", "val"])
    assert validation_rows(store).tolist() == [False, False, True, True]


def test_a_synthetic_set_lends_about_a_tenth_of_its_subjects_whole():
    subjects = [f"synthetic-{number:05d}" for number in range(1000) for _ in range(2)]
    held = validation_rows(_store(subjects, ["train"] * 2000))
    assert 0.07 < held.mean() < 0.13
    assert (held[::2] == held[1::2]).all()
