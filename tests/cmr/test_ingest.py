import json
import logging

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from cmr.ingest import image_digest, ingest
from cmr.nifti import NiftiFile, write_volume
from cmr.readers.acdc import AcdcReader
from cmr.readers.mnms import MnmsReader
from tests.cmr.raw import ACDC_AFFINE, VOXEL_MM, add_acdc_patient, picture


@pytest.fixture
def acdc(acdc_root):
    return AcdcReader(acdc_root, "acdc")


def rewrite_voxel(path, voxel_mm):
    write_volume(path, NiftiFile.open(path).values(), voxel_mm, ACDC_AFFINE)


def test_manifest_has_one_row_a_frame(acdc):
    manifest = ingest(acdc, skip_bad=False).manifest
    assert len(manifest) == 10
    row = manifest.iloc[1].to_dict()
    assert row["image_sha256"] == image_digest(picture("patient001 ES").astype(np.float32))
    assert row | {"image_sha256": ""} == {
        "dataset": "acdc",
        "subject": "patient001",
        "part": "training",
        "vendor": "Siemens",
        "centre": "1",
        "pathology": "DCM",
        "phase": "ES",
        "slices": 3,
        "rows": 24,
        "columns": 20,
        "slice_mm": 10.0,
        "row_mm": 1.5,
        "column_mm": 1.25,
        "labels": "1,2,3",
        "labelled_slices": 2,
        "image_sha256": "",
        "duplicate_of": "",
    }


def test_manifest_survives_parquet(acdc, tmp_path):
    manifest = ingest(acdc, skip_bad=False).manifest
    manifest.to_parquet(tmp_path / "manifest.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "manifest.parquet"), manifest)


def test_report_counts(mnms_root):
    report = ingest(MnmsReader(mnms_root, "mnms"), skip_bad=False).report
    assert report == {
        "dataset": "mnms",
        "layout": "M&Ms",
        "found": {"training": 2, "validation": 1, "testing": 1},
        "subjects": {"training": 2, "validation": 1, "testing": 1},
        "frames": 8,
        "unused": {"Training/Unlabeled": 1},
        "skipped": [],
        "excluded": [],
        "duplicates": [],
        "vendors": {"Canon": 1, "GE": 1, "Philips": 1, "Siemens": 1},
        "centres": {"1": 1, "2": 1, "3": 1, "4": 1},
        "pathologies": {"HCM": 4},
        "warnings": [],
    }
    assert json.loads(json.dumps(report)) == report


def test_same_scan_keeps_training_before_testing_then_the_lowest_id(acdc_root, acdc):
    add_acdc_patient(acdc_root, "testing", "patient000", scan="patient003")  # lowest id of all, but from the testing part
    add_acdc_patient(acdc_root, "training", "patient009", scan="patient003")
    add_acdc_patient(acdc_root, "testing", "patient103", scan="patient101")
    found = ingest(acdc, skip_bad=False)
    pairs = [["patient003", "patient000"], ["patient003", "patient009"], ["patient101", "patient103"]]
    assert found.report["duplicates"] == pairs
    dropped = found.manifest[found.manifest["duplicate_of"] != ""]
    assert dict(zip(dropped["subject"], dropped["duplicate_of"], strict=True)) == {drop: keep for keep, drop in pairs}
    assert len(dropped) == 6
    assert found.report["found"] == {"training": 4, "validation": 0, "testing": 4}
    assert found.report["subjects"] == {"training": 3, "validation": 0, "testing": 2}
    assert found.report["warnings"] == []


def test_same_scan_is_found_whatever_its_labels_and_its_file_type(acdc_root, acdc):
    folder = add_acdc_patient(acdc_root, "testing", "patient103", scan="patient001")
    for path in folder.glob("*.nii.gz"):
        values = NiftiFile.open(path).values()
        changed = np.where(values == 1, 2, values) if "_gt" in path.name else values.astype(np.float32)
        write_volume(path, changed, VOXEL_MM, np.eye(4))
    assert ingest(acdc, skip_bad=False).report["duplicates"] == [["patient001", "patient103"]]


def test_one_shared_frame_is_a_warning_and_no_duplicate(acdc_root, acdc):
    source = acdc_root / "training/patient001/patient001_frame01.nii.gz"
    (acdc_root / "testing/patient101/patient101_frame01.nii.gz").write_bytes(source.read_bytes())
    report = ingest(acdc, skip_bad=False).report
    assert report["duplicates"] == []
    assert report["warnings"] == ["the same image: patient001 ED and patient101 ED"]


def test_one_pixel_hides_no_copy(acdc_root, acdc):
    folder = add_acdc_patient(acdc_root, "testing", "patient103", scan="patient001")
    image = picture("patient001 ED")
    image[0, 0, 0] += 1
    write_volume(folder / "patient103_frame01.nii.gz", image, VOXEL_MM, ACDC_AFFINE)
    assert ingest(acdc, skip_bad=False).report["duplicates"] == [["patient001", "patient103"]]


def test_digest_depends_on_shape():
    flat = np.arange(24, dtype=np.float32)
    assert image_digest(flat.reshape(2, 3, 4)) != image_digest(flat.reshape(2, 4, 3))
    assert image_digest(flat.reshape(2, 3, 4)) == image_digest(np.asfortranarray(flat.reshape(2, 3, 4)))


def test_unusual_voxel_sizes_are_warned_of(acdc_root, acdc):
    folder = acdc_root / "training/patient002"
    for name in ("patient002_frame01.nii.gz", "patient002_frame01_gt.nii.gz"):
        rewrite_voxel(folder / name, (10.0, 1.5, 15.0))
    warnings = ingest(acdc, skip_bad=False).report["warnings"]
    assert len(warnings) == 2
    assert warnings[0].startswith("patient002 ED: unusual voxel size 10 x 1.5 x 15 mm")
    assert warnings[1] == "patient002: ED and ES differ in shape or voxel size"


def test_a_missing_part_is_warned_of(tmp_path):
    add_acdc_patient(tmp_path, "training", "patient001")
    warnings = ingest(AcdcReader(tmp_path, "acdc"), skip_bad=False).report["warnings"]
    assert warnings == ["no testing patients: there will be no testing figures"]


def test_each_file_is_read_once(acdc, monkeypatch):
    opened = []
    original = NiftiFile.open.__func__
    monkeypatch.setattr(NiftiFile, "open", classmethod(lambda cls, path: opened.append(path) or original(cls, path)))
    ingest(acdc, skip_bad=False)
    assert len(opened) == len(set(opened)) == 20


def test_nothing_is_logged_about_good_files(acdc, caplog):
    """nibabel reports harmless oddities of headers, such as a qfac of 0, once a file."""
    with caplog.at_level(logging.INFO, logger=nib.imageglobals.logger.name):
        ingest(acdc, skip_bad=False)
    assert caplog.records == []
