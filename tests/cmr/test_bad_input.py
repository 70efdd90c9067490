"""Every fault of the raw data that the platform promises to explain: which file, what was found, what to do."""

import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from cmr.errors import DataError, DataErrors
from cmr.ingest import ingest
from cmr.nifti import NiftiFile, write_volume
from cmr.readers import READERS
from tests.cmr.raw import ACDC_AFFINE, VOXEL_MM, add_acdc_patient, add_mnms_patient, table_row, write_table

FRAME = "training/patient002/patient002_frame01.nii.gz"
MASK = "training/patient002/patient002_frame12_gt.nii.gz"
INFO = "training/patient002/Info.cfg"
CINE = "Training/Labeled/B1S9V9/B1S9V9_sa.nii.gz"
CINE_MASK = "Training/Labeled/B1S9V9/B1S9V9_sa_gt.nii.gz"


def run(root: Path, dataset: str, *, skip_bad: bool = False):
    return ingest(READERS[dataset](root, dataset), skip_bad=skip_bad)


def refused(root: Path, dataset: str, *expected: str) -> None:
    """Ingest names the one bad subject and its file; with ``skip_bad`` it leaves out that subject only."""
    with pytest.raises(DataErrors) as caught:
        run(root, dataset)
    assert len(caught.value.faults) == 1
    for part in expected:
        assert part in caught.value.faults[0]
    total = len(READERS[dataset](root, dataset).subjects())
    found = run(root, dataset, skip_bad=True)
    assert [fault["reason"] for fault in found.report["skipped"]] == caught.value.faults
    assert found.manifest["subject"].nunique() == total - 1
    assert found.report["skipped"][0]["subject"] not in set(found.manifest["subject"])


def stopped(root: Path, dataset: str, pattern: str) -> None:
    """A fault of the dataset as a whole stops ingest, whatever ``skip_bad`` says."""
    for skip_bad in (False, True):
        with pytest.raises(DataError, match=re.compile(pattern, re.DOTALL)):
            run(root, dataset, skip_bad=skip_bad)


def change(path: Path, edit) -> None:
    values = np.array(NiftiFile.open(path).values())
    write_volume(path, edit(values), VOXEL_MM, ACDC_AFFINE)


def put(value: float):
    """An edit that sets one pixel."""

    def edit(values):
        values = values.astype(np.float32)
        values[1, 8, 8] = value
        return values

    return edit


@pytest.mark.parametrize("lost", [4, 60])
@pytest.mark.parametrize("name", [FRAME, MASK])
def test_truncated_file(acdc_root, truncate, name, lost):
    truncate(acdc_root / name, lost)
    refused(acdc_root, "acdc", str(acdc_root / name), "truncated", "Fetch the file again")


def test_truncated_after_the_frames_that_are_needed(mnms_root, truncate):
    truncate(mnms_root / CINE, 4)
    refused(mnms_root, "mnms", str(mnms_root / CINE), "truncated")


def test_mask_shape_differs(acdc_root):
    change(acdc_root / MASK, lambda values: values[:, :, 1:])
    refused(acdc_root, "acdc", str(acdc_root / MASK), "3 slices of 24 x 19 pixels", "3 slices of 24 x 20 pixels", "same shape")


@pytest.mark.parametrize(
    ("value", "shown"), [(4, "labels 4;"), (-1, "labels -1;"), (1.5, "labels 1.5;"), (np.nan, "labels nan;")]
)
def test_labels_outside_0_to_3(acdc_root, value, shown):
    change(acdc_root / MASK, put(value))
    refused(acdc_root, "acdc", str(acdc_root / MASK), "ES mask", shown, "0 to 3")


def test_whole_numbers_stored_as_floats_are_labels(acdc_root):
    change(acdc_root / MASK, lambda values: values.astype(np.float32))
    assert run(acdc_root, "acdc").report["skipped"] == []


def test_mask_without_labels(acdc_root):
    change(acdc_root / MASK, np.zeros_like)
    refused(acdc_root, "acdc", str(acdc_root / MASK), "no pixel of the ES mask is labelled")


@pytest.mark.parametrize(("value", "share"), [(np.nan, "0.0694 %"), (np.inf, "0.0694 %")])
def test_image_with_nans(acdc_root, value, share):
    change(acdc_root / FRAME, put(value))
    refused(acdc_root, "acdc", str(acdc_root / FRAME), share, "NaN or infinite")


def test_image_of_nans(acdc_root):
    change(acdc_root / FRAME, lambda values: np.full(values.shape, np.nan, np.float32))
    refused(acdc_root, "acdc", str(acdc_root / FRAME), "100 %", "NaN or infinite")


def test_image_of_one_value(acdc_root):
    change(acdc_root / FRAME, lambda values: np.full_like(values, 7))
    refused(acdc_root, "acdc", str(acdc_root / FRAME), "every pixel of the ED image is 7")


def test_missing_mask(acdc_root, mnms_root):
    (acdc_root / MASK).unlink()
    refused(acdc_root, "acdc", str(acdc_root / MASK), "the mask of the ES frame is missing")
    (mnms_root / CINE_MASK).unlink()
    refused(mnms_root, "mnms", str(mnms_root / CINE_MASK), "the mask is missing")


def test_missing_image(mnms_root):
    (mnms_root / CINE).unlink()
    refused(mnms_root, "mnms", str(mnms_root / CINE), "the cine stack is missing")


def test_patient_without_info(acdc_root):
    (acdc_root / INFO).unlink()
    refused(acdc_root, "acdc", str(acdc_root / INFO), "the file is missing", "ED: N")


@pytest.mark.parametrize("text", ["ES: 12\nNbFrame: 30\n", "ED: first\nES: 12\n", "ED: 0\nES: 12\n", ""])
def test_info_without_a_frame_number(acdc_root, text):
    (acdc_root / INFO).write_text(text)
    refused(acdc_root, "acdc", str(acdc_root / INFO), "the ED frame is", "`ED: 1`")


def test_info_that_is_no_text(acdc_root):
    (acdc_root / INFO).write_bytes(b"ED: \0\0\0\1 ES: 12\0")
    refused(acdc_root, "acdc", str(acdc_root / INFO), "can't be read as text")


def test_ed_frame_that_does_not_exist(acdc_root):
    (acdc_root / INFO).write_text("ED: 31\nES: 12\nNbFrame: 30\n")
    expected = ("patient002_frame31.nii.gz: the ED frame doesn't exist", "ED: 31, of 30 frames", "patient002_frame01.nii.gz")
    refused(acdc_root, "acdc", *expected)


def test_frame_beyond_the_cine_stack(mnms_root):
    add_mnms_patient(mnms_root, "Testing", "F5S9V9", phases=2, es=1)
    table = next(mnms_root.glob("*.csv"))
    table.write_text(table.read_text() + "9," + ",".join(table_row("F5S9V9", es="2")) + "\n")
    refused(mnms_root, "mnms", "F5S9V9_sa.nii.gz", "no frame 2: the file holds 2 (0 to 1", "information table")


def test_frame_counted_from_1_in_the_table(mnms_root):
    codes = ["A0S9V9", "C2S9V9", "D3S9V9"]
    write_table(mnms_root, [table_row("B1S9V9", ed="1", es="3"), *map(table_row, codes)])
    refused(mnms_root, "mnms", str(mnms_root / CINE_MASK), "no pixel of the ED mask", "(counted from 0) are: 0, 2")


@pytest.mark.parametrize("entry", ["", "nan", "-1", "1.5", "first"])
def test_table_without_a_frame_number(mnms_root, entry):
    codes = ["A0S9V9", "C2S9V9", "D3S9V9"]
    table = write_table(mnms_root, [table_row("B1S9V9", ed=entry), *map(table_row, codes)])
    refused(mnms_root, "mnms", str(table), "B1S9V9", repr(entry), "ED frame")


def test_code_missing_from_the_table(mnms_root):
    table = write_table(mnms_root, [table_row(code) for code in ("A0S9V9", "C2S9V9", "D3S9V9")])
    refused(mnms_root, "mnms", str(mnms_root / "Training/Labeled/B1S9V9"), "B1S9V9 is not in", table.name)


def test_code_twice_in_the_table(mnms_root):
    codes = ["A0S9V9", "C2S9V9", "D3S9V9"]
    write_table(mnms_root, [table_row("B1S9V9"), table_row("B1S9V9", es="3"), *map(table_row, codes)])
    refused(mnms_root, "mnms", "B1S9V9 has 2 different rows")


@pytest.mark.parametrize("column", ["External code", "VendorName", "Centre", "ED", "ES"])
def test_table_without_a_needed_column(mnms_root, column):
    table = next(mnms_root.glob("*.csv"))
    table.write_text(table.read_text().replace(f",{column},", ",Other,"))
    stopped(mnms_root, "mnms", rf"{re.escape(str(table))}: .*no column `{column}`; found: .*Other")


def test_no_table_an_unreadable_one_and_two(mnms_root):
    table = next(mnms_root.glob("*.csv"))
    shutil.copy(table, mnms_root / "copy.csv")
    stopped(mnms_root, "mnms", "copy.csv could each be the information table")
    (mnms_root / "copy.csv").unlink()
    table.write_bytes(b"\xff\xfe\x00External")
    stopped(mnms_root, "mnms", f"{re.escape(str(table))}: can't be read as text")
    table.write_bytes(b"")
    stopped(mnms_root, "mnms", "no column `External code`.*found: none")
    table.unlink()
    stopped(mnms_root, "mnms", "no csv file is there")


@pytest.mark.parametrize("dataset", ["acdc", "mnms"])
def test_empty_or_missing_folder_or_a_file(tmp_path, dataset):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    stopped(tmp_path / "empty", dataset, "the folder is empty. Download")
    stopped(tmp_path / "gone", dataset, "the folder doesn't exist. Correct the path")
    stopped(tmp_path / "file", dataset, "this is a file. Give the dataset's folder")


def test_empty_part_folders(tmp_path):
    (tmp_path / "training").mkdir()
    stopped(tmp_path, "acdc", r"it holds training; expected training/\*/Info.cfg")


def test_acdc_given_as_mnms_and_the_reverse(acdc_root, mnms_root):
    stopped(acdc_root, "mnms", "no M&Ms patients found: this looks like ACDC. Give this folder as ACDC")
    stopped(mnms_root, "acdc", "no ACDC patients found: this looks like M&Ms. Give this folder as M&Ms")


def test_acdc_given_as_mnms_where_names_ignore_case(mnms_root, acdc_root):
    """On such a disk ``Testing`` opens ACDC's ``testing``; a link stands in for it."""
    (acdc_root / "Testing").symlink_to(acdc_root / "testing")
    stopped(acdc_root, "mnms", "this looks like ACDC")


def test_one_level_too_high_or_too_low(tmp_path, acdc_root, mnms_root):
    shutil.copytree(acdc_root, tmp_path / "deep/acdc")
    stopped(
        tmp_path / "deep", "acdc", f"one level too high, acdc in it looks like ACDC. Give {re.escape(str(tmp_path))}/deep/acdc"
    )
    for folder in ("training", "training/patient001"):
        stopped(acdc_root / folder, "acdc", f"inside what looks like ACDC. Give {re.escape(str(acdc_root))}\\.")
    stopped(mnms_root / "Training/Labeled", "mnms", f"inside what looks like M&Ms. Give {re.escape(str(mnms_root))}\\.")


def test_some_other_folder(tmp_path):
    for number in range(8):
        (tmp_path / f"scan{number}.dcm").touch()
    stopped(tmp_path, "acdc", r"it holds scan0.dcm, .*scan5.dcm, \.\.\.; expected training/")


def test_one_id_in_two_parts(acdc_root):
    add_acdc_patient(acdc_root, "testing", "patient001", scan="another")
    stopped(acdc_root, "acdc", "two parts.*patient001: .*training/patient001 and .*testing/patient001")


def test_same_scan_under_two_names_is_no_error(acdc_root):
    add_acdc_patient(acdc_root, "testing", "patient103", scan="patient001")
    found = run(acdc_root, "acdc")
    assert found.report["duplicates"] == [["patient001", "patient103"]]
    assert found.report["skipped"] == []


def test_all_bad_subjects_are_listed_at_once(acdc_root, truncate):
    truncate(acdc_root / FRAME, 100)
    (acdc_root / "training/patient003/Info.cfg").unlink()
    (acdc_root / "testing/patient101/patient101_frame12_gt.nii.gz").unlink()
    with pytest.raises(DataErrors) as caught:
        run(acdc_root, "acdc")
    named = zip(("patient002", "patient003", "patient101"), caught.value.faults, strict=True)
    assert all(name in fault for name, fault in named)
    assert "3 of 5 subjects of acdc can't be used" in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    assert "patient001" not in str(caught.value)
    found = run(acdc_root, "acdc", skip_bad=True)
    assert sorted(set(found.manifest["subject"])) == ["patient001", "patient102"]
    assert [fault["subject"] for fault in found.report["skipped"]] == ["patient002", "patient003", "patient101"]


def test_a_skipped_copy_does_not_take_the_good_one_with_it(acdc_root):
    add_acdc_patient(acdc_root, "testing", "patient103", scan="patient002")
    (acdc_root / MASK).unlink()
    found = run(acdc_root, "acdc", skip_bad=True)
    assert found.report["duplicates"] == []
    assert "patient103" in set(found.manifest["subject"])


def test_no_good_subject_left_is_an_error_even_when_skipping(acdc_root):
    for info in acdc_root.glob("*/*/Info.cfg"):
        info.write_text("")
    for skip_bad in (False, True):
        with pytest.raises(DataErrors, match=r"5 of 5 subjects of acdc can't be used\. None is left"):
            run(acdc_root, "acdc", skip_bad=skip_bad)


@pytest.mark.parametrize("error", [-2.3e-10, 4e-5, 9e-4])
def test_labels_that_are_almost_whole_are_labels(acdc_root, error):
    """A slope, or float32, makes 0.9999999998 or 1.00002 of 1."""
    before = run(acdc_root, "acdc").manifest
    change(acdc_root / MASK, lambda values: (values * (1 + error / 3)).astype(np.float64 if error < 1e-9 else np.float32))
    found = run(acdc_root, "acdc")
    assert found.report["skipped"] == []
    assert found.manifest.equals(before)


def test_labels_that_are_not_whole_are_written_out(acdc_root):
    change(acdc_root / MASK, put(1.0015))
    refused(acdc_root, "acdc", str(acdc_root / MASK), "labels 1.0015")


def test_grey_values_beyond_float32_are_no_nans(acdc_root):
    change(acdc_root / FRAME, lambda values: values.astype(np.float64) * 1e37)
    refused(acdc_root, "acdc", str(acdc_root / FRAME), "e+39 in magnitude", "Divide them")


INFO_TEXT = "ED: 1\nES: 12\nGroup: DCM\nNbFrame: 30\n"


@pytest.mark.parametrize(
    "raw",
    [
        INFO_TEXT.encode("utf-8-sig"),
        INFO_TEXT.encode("utf-16"),
        INFO_TEXT.encode("utf-16-be"),
        INFO_TEXT.encode("utf-16-le"),
        INFO_TEXT.replace("\n", "\r\n").encode(),
        INFO_TEXT.replace("\n", "\r").encode(),
        INFO_TEXT.replace("DCM", "Dilat\xe9e").encode("cp1252"),
        INFO_TEXT.replace(": ", ":\t").replace("12", "12.0").encode(),
        INFO_TEXT.replace("ED: 1", "Ed : 1,0").encode(),
    ],
)
def test_info_is_read_as_editors_save_it(acdc_root, raw):
    before = run(acdc_root, "acdc").manifest
    (acdc_root / INFO).write_bytes(raw)
    found = run(acdc_root, "acdc")
    assert found.report["skipped"] == []
    columns = ["subject", "phase", "image_sha256"]
    assert found.manifest[columns].equals(before[columns])
    assert found.manifest.set_index("subject").loc["patient002", "pathology"].iloc[0] in ("DCM", "Dilat\xe9e")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_the_table_is_read_as_excel_saves_it(mnms_root, separator, encoding, newline):
    table = next(mnms_root.glob("*.csv"))
    before = run(mnms_root, "mnms").manifest
    text = table.read_text().replace("HCM", "Cardiomyopathie dilat\xe9e").replace(",", separator).replace("\n", newline)
    table.write_bytes(text.encode(encoding))
    after = run(mnms_root, "mnms").manifest
    assert after.drop(columns="pathology").equals(before.drop(columns="pathology"))
    assert set(after["pathology"]) == {"Cardiomyopathie dilat\xe9e"}


def test_a_table_with_excel_s_hint_quoted_cells_decimal_commas_and_other_capitals(mnms_root):
    table = next(mnms_root.glob("*.csv"))
    before = run(mnms_root, "mnms").manifest
    text = table.read_text().replace(",0,2,", ';"0,0";"2,0";').replace(",", ";").replace('"0;0";"2;0"', '"0,0";"2,0"')
    table.write_text("sep=;\n" + text.replace("External code", "EXTERNAL CODE").replace("VendorName", " vendorname "))
    assert run(mnms_root, "mnms").manifest.equals(before)


def test_a_workbook_in_place_of_the_table_is_named(mnms_root):
    table = next(mnms_root.glob("*.csv"))
    table.rename(table.with_suffix(".xlsx"))
    stopped(mnms_root, "mnms", r"no csv file is there.*opendataset\.xlsx is there: save it as CSV")


def test_unpacked_files_are_read(acdc_root, mnms_root):
    for root, dataset in ((acdc_root, "acdc"), (mnms_root, "mnms")):
        before = run(root, dataset).manifest
        for file in root.rglob("*.nii.gz"):
            file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
            file.unlink()
        assert run(root, dataset).manifest.equals(before)


def test_packed_and_unpacked_side_by_side(acdc_root):
    shutil.copy(acdc_root / FRAME, (acdc_root / FRAME).with_suffix(""))
    refused(acdc_root, "acdc", "holds both patient002_frame01.nii.gz and patient002_frame01.nii", "Remove")


def link(path: Path) -> None:
    """What git-annex leaves of a file, or a folder, that was not fetched."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to("../../.git/annex/objects/Xx/none")


@pytest.mark.parametrize("name", [FRAME, MASK, INFO, "training/patient002"])
def test_links_to_what_was_not_fetched(acdc_root, name):
    link(acdc_root / name)
    refused(acdc_root, "acdc", str(acdc_root / name), "is a link to ../../.git/annex", "datalad get")


@pytest.mark.parametrize("name", [CINE, CINE_MASK, "Training/Labeled/B1S9V9"])
def test_links_of_mnms_to_what_was_not_fetched(mnms_root, name):
    link(mnms_root / name)
    refused(mnms_root, "mnms", str(mnms_root / name), "is a link to ../../.git/annex", "datalad get")


def test_a_table_and_a_dataset_that_were_not_fetched(mnms_root):
    link(next(mnms_root.glob("*.csv")))
    stopped(mnms_root, "mnms", r"opendataset\.csv: is a link to .*datalad get")
    link(mnms_root)
    stopped(mnms_root, "mnms", r"is a link to .*datalad get")


def test_a_link_in_place_of_the_cine_file_that_is_not_needed(acdc_root):
    (acdc_root / "training/patient002/patient002_4d.nii.gz").symlink_to("nowhere")
    assert run(acdc_root, "acdc").report["skipped"] == []
