import pickle

import numpy as np
import pytest

from cmr.readers.acdc import AcdcReader
from tests.cmr.raw import VOXEL_MM, add_acdc_patient, heart, picture


def test_subjects(acdc_root):
    subjects = AcdcReader(acdc_root, "acdc").subjects()
    assert [(subject.id, subject.part) for subject in subjects] == [
        ("patient001", "training"),
        ("patient002", "training"),
        ("patient003", "training"),
        ("patient101", "testing"),
        ("patient102", "testing"),
    ]
    first = subjects[0]
    assert (first.dataset, first.vendor, first.centre, first.pathology) == ("acdc", "Siemens", "1", "DCM")


def test_frames_and_labels(acdc_root):
    ed, es = AcdcReader(acdc_root, "acdc").subjects()[0].frames()
    assert (ed.phase, es.phase) == ("ED", "ES")
    np.testing.assert_array_equal(ed.image, picture("patient001 ED"))
    np.testing.assert_array_equal(es.image, picture("patient001 ES"))
    np.testing.assert_array_equal(ed.label, heart())
    assert (ed.image.dtype, ed.label.dtype) == (np.float32, np.uint8)
    assert ed.voxel_mm == pytest.approx(VOXEL_MM)


def test_cine_file_and_citation_are_ignored(acdc_root):
    (acdc_root / "training/patient001/patient001_4d.nii.gz").write_bytes(b"anything")
    (acdc_root / "training/patient001/MANDATORY_CITATION.md").touch()
    (acdc_root / "training/.DS_Store").touch()
    assert len(AcdcReader(acdc_root, "acdc").subjects()) == 5


def test_info_is_read_by_key(acdc_root):
    info = acdc_root / "training/patient001/Info.cfg"
    info.write_text("Weight: 1.0\nNbFrame: 30\nES:12\nGroup: RV\n\nED :  1\n")
    subject = AcdcReader(acdc_root, "acdc").subjects()[0]
    assert subject.pathology == "RV"
    np.testing.assert_array_equal(subject.frames()[0].image, picture("patient001 ED"))


def test_a_part_may_be_absent(tmp_path):
    add_acdc_patient(tmp_path, "training", "patient007")
    assert [subject.id for subject in AcdcReader(tmp_path, "acdc").subjects()] == ["patient007"]


def test_a_subject_travels_to_another_process(acdc_root):
    subject = pickle.loads(pickle.dumps(AcdcReader(acdc_root, "acdc").subjects()[0]))  # noqa: S301 - our own bytes
    assert len(subject.frames()) == 2
