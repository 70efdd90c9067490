"""Patients who withdrew their consent are left out by ingest, under every name that their scans have."""

from pathlib import Path

import pytest

from cmr.errors import DataError, DataErrors
from cmr.ingest import Ingested, ingest
from cmr.readers.acdc import AcdcReader
from tests.cmr.raw import add_acdc_patient


def taken_in(root: Path, *excluded: str) -> Ingested:
    return ingest(AcdcReader(root, "acdc"), skip_bad=False, excluded=excluded)


def test_an_excluded_patient_is_in_no_row_and_in_the_report(acdc_root: Path) -> None:
    found = taken_in(acdc_root, "patient002")
    assert set(found.manifest["subject"]) == {"patient001", "patient003", "patient101", "patient102"}
    assert list(found.manifest.index) == list(range(8))
    assert found.report["excluded"] == [["patient002"]]
    assert found.report["subjects"]["training"] == 2
    assert found.report["warnings"] == []


def test_without_exclusions_nothing_changes(acdc_root: Path) -> None:
    found = taken_in(acdc_root)
    assert (len(found.manifest), found.report["excluded"]) == (10, [])


@pytest.mark.parametrize("named", ["patient001", "patient103"])
def test_a_copy_under_another_name_does_not_come_in_its_place(acdc_root: Path, named: str) -> None:
    add_acdc_patient(acdc_root, "testing", "patient103", scan="patient001")
    found = taken_in(acdc_root, named)
    assert not {"patient001", "patient103"} & set(found.manifest["subject"])
    assert found.report["excluded"] == [["patient001", "patient103"]]
    assert found.report["duplicates"] == []


def test_who_shares_one_frame_is_the_same_patient(acdc_root: Path) -> None:
    source = acdc_root / "training/patient001/patient001_frame01.nii.gz"
    (acdc_root / "testing/patient101/patient101_frame01.nii.gz").write_bytes(source.read_bytes())
    assert taken_in(acdc_root, "patient001").report["excluded"] == [["patient001", "patient101"]]


def test_broken_files_of_an_excluded_patient_stop_nothing(acdc_root: Path) -> None:
    broken = acdc_root / "training/patient002/patient002_frame01.nii.gz"
    broken.write_bytes(b"no picture")
    with pytest.raises(DataErrors, match="patient002"):
        taken_in(acdc_root)
    found = taken_in(acdc_root, "patient002")
    assert (found.report["excluded"], found.report["skipped"]) == ([["patient002"]], [])


def test_a_name_that_is_not_in_the_data_is_warned_of(acdc_root: Path) -> None:
    """The files of somebody who withdrew may be gone; a slip of the pen looks the same."""
    report = taken_in(acdc_root, "patient999").report
    assert report["warnings"] == ["patient999: excluded (data.excluded), and not among the raw data"]


def test_everybody_excluded_is_an_error(tmp_path: Path) -> None:
    add_acdc_patient(tmp_path, "training", "patient001")
    with pytest.raises(DataError, match="every subject of acdc is excluded"):
        taken_in(tmp_path, "patient001")
