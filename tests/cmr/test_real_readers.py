"""The readers on real scans: set SYNCMRI_REAL_DATA to a folder that holds acdc/ and mnms/."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from cmr.ingest import Ingested, ingest
from cmr.labels import LV, MYO, RV
from cmr.readers import READERS
from cmr.subject import Frame

DATA = Path(os.environ.get("SYNCMRI_REAL_DATA", ""))
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.environ.get("SYNCMRI_REAL_DATA"), reason="SYNCMRI_REAL_DATA is not set"),
]
FOLDERS = {
    "acdc": {"training": "training", "testing": "testing"},
    "mnms": {"training": "Training/Labeled", "validation": "Validation", "testing": "Testing"},
}


@pytest.fixture(scope="module", params=["acdc", "mnms"])
def dataset(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def found(dataset: str) -> Ingested:
    return ingest(READERS[dataset](DATA / dataset, dataset), skip_bad=False)


@pytest.fixture(scope="module")
def frames(dataset: str) -> list[Frame]:
    return [frame for subject in READERS[dataset](DATA / dataset, dataset).subjects()[::4] for frame in subject.frames()]


def test_every_patient_is_found_and_none_is_bad(dataset: str, found: Ingested):
    expected = {part: len(list((DATA / dataset / folder).iterdir())) for part, folder in FOLDERS[dataset].items()}
    assert {part: count for part, count in found.report["found"].items() if count} == expected
    assert found.report["skipped"] == []
    assert len(found.manifest) == 2 * sum(expected.values())
    assert set(found.manifest["labels"]) == {"1,2,3"}


def test_voxel_sizes_are_those_of_cine_mr(found: Ingested):
    assert found.manifest["slice_mm"].between(4, 12).all()
    assert found.manifest["row_mm"].between(0.6, 2.0).all()
    assert found.report["warnings"] == []


def test_duplicates_are_those_that_a_comparison_of_all_pairs_finds(dataset: str, found: Ingested):
    """By sum and by pixels, not by hash."""
    scans = {}
    for subject in READERS[dataset](DATA / dataset, dataset).subjects():
        ed, es = subject.frames()
        scans[subject.id] = (ed.image.shape, float(ed.image.sum(dtype=np.float64)), float(es.image.sum(dtype=np.float64)))
    table = pd.Series(scans)
    copies = {name for name in table.index if (table == table[name]).sum() > 1}
    assert {name for pair in found.report["duplicates"] for name in pair} == copies


def test_a_real_scan_under_a_second_name_is_dropped_from_the_test_side(tmp_path):
    for part in FOLDERS["acdc"]:
        for folder in sorted((DATA / "acdc" / part).iterdir())[:3]:
            (tmp_path / part).mkdir(exist_ok=True)
            (tmp_path / part / folder.name).symlink_to(folder.resolve())
    original = min((tmp_path / "training").iterdir())
    copy = tmp_path / "testing/patient900"
    copy.mkdir()
    for file in original.iterdir():
        shutil.copyfile(file, copy / file.name.replace(original.name, copy.name))
    report = ingest(READERS["acdc"](tmp_path, "acdc"), skip_bad=False).report
    assert report["duplicates"] == [[original.name, "patient900"]]
    assert report["subjects"] == {"training": 3, "validation": 0, "testing": 3}


def enclosed_share(label: NDArray[np.uint8], inner: int, outer: int) -> float:
    """Share of the pixels around ``inner``, in its slices, that are ``outer``."""
    cross = ndimage.generate_binary_structure(2, 1)[None]
    around = ndimage.binary_dilation(label == inner, cross) & (label != inner)
    return float((label[around] == outer).mean())


def test_the_left_ventricle_is_enclosed_by_myocardium_and_the_right_is_not(frames: list[Frame]):
    left = np.array([enclosed_share(frame.label, LV, MYO) for frame in frames])
    right = np.array([enclosed_share(frame.label, RV, MYO) for frame in frames])
    assert left.mean() > 0.95
    assert right.mean() < 0.6
    assert (left > right).all()


def test_the_right_ventricle_is_on_the_left_of_the_picture(frames: list[Frame]):
    """The height differs: scan planes are turned by up to 90 degrees between patients, but never mirrored."""
    left, right = (
        np.array([ndimage.center_of_mass(frame.label == structure)[2] for frame in frames]) for structure in (LV, RV)
    )
    assert (right < left).mean() > 0.95
