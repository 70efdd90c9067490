"""Both stages on real patients; the data is no part of the project."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cmr.labels import LV, RV
from cmr.preprocess import N4Settings, PreprocessSettings, preprocess_dataset, read_frames
from cmr.readers import READERS
from cmr.slices import SliceSettings, cut_slices
from cmr.store import SliceStore

ROOT = os.environ.get("SYNCMRI_REAL_DATA", "")
SETTINGS = SliceSettings(size=64, field_of_view_mm=160.0, low_percentile=1, high_percentile=99, minimum_range=0.1)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="SYNCMRI_REAL_DATA is not set")
@pytest.mark.parametrize(
    ("dataset", "number", "split"), [("acdc", 0, "train"), ("acdc", 33, "test"), ("mnms", 0, "test"), ("mnms", 20, "train")]
)
def test_real_hearts_are_centred_whole_and_of_plausible_size(dataset: str, number: int, split: str, tmp_path: Path) -> None:
    subject = READERS[dataset](Path(ROOT) / dataset, dataset).subjects()[number]
    n4 = PreprocessSettings(N4Settings(4, (20, 20)), workers=1)
    preprocess_dataset([subject], n4, SETTINGS.spacing_mm, out=tmp_path / "frames", cache=tmp_path / "cache")
    about = {"subject": subject.id, "dataset": dataset, "vendor": "A", "centre": "1", "pathology": "NOR", "duplicate_of": ""}
    summary = cut_slices(tmp_path / "frames", pd.DataFrame([about]), {subject.id: split}, SETTINGS, tmp_path / "store")
    store = SliceStore.open(tmp_path / "store")
    frames = read_frames(tmp_path / f"frames/{subject.id}.npz")

    assert summary.cut_hearts == summary.dropped_flat == 0
    assert (store.masks > 0).sum() == sum((frame.label > 0).sum() for frame in frames)
    labelled = store.select(store.index["labelled"])
    offsets = [abs(np.argwhere(mask > 0).mean(axis=0) - 31.5).max() for mask in labelled.masks]
    assert max(offsets) < (10 if split == "train" else 16)
    assert labelled.images is not None
    assert labelled.images.astype(np.float32).std(axis=(1, 2)).min() > 0.2

    middle = labelled.masks[labelled.index["phase"] == "ED"]
    middle = middle[len(middle) // 2]
    areas = {name: (middle == label).sum() * SETTINGS.spacing_mm**2 for name, label in (("LV", LV), ("RV", RV))}
    assert 600 < areas["LV"] < 6000, areas
    assert 400 < areas["RV"] < 6000, areas
    # Radiological display: the RV lies to the left of the LV.
    assert np.argwhere(middle == RV)[:, 1].mean() < np.argwhere(middle == LV)[:, 1].mean()
