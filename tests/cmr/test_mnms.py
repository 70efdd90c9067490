import pickle

import numpy as np
import pytest

from cmr.readers.mnms import MnmsReader
from tests.cmr.raw import TABLE_COLUMNS, VOXEL_MM, heart, picture, table_row, write_table


def test_subjects(mnms_root):
    subjects = MnmsReader(mnms_root, "mnms").subjects()
    assert [(subject.id, subject.part, subject.vendor, subject.centre, subject.pathology) for subject in subjects] == [
        ("A0S9V9", "training", "Siemens", "1", "HCM"),
        ("B1S9V9", "training", "Philips", "2", "HCM"),
        ("C2S9V9", "validation", "GE", "3", "HCM"),
        ("D3S9V9", "testing", "Canon", "4", "HCM"),
    ]


def test_frames_are_counted_from_0_and_labels_kept(mnms_root):
    ed, es = MnmsReader(mnms_root, "mnms").subjects()[0].frames()
    assert (ed.phase, es.phase) == ("ED", "ES")
    np.testing.assert_array_equal(ed.image, picture("A0S9V9 0"))
    np.testing.assert_array_equal(es.image, picture("A0S9V9 2"))
    np.testing.assert_array_equal(es.label, heart())
    assert es.voxel_mm == pytest.approx(VOXEL_MM)


def test_unlabelled_patients_are_counted_and_not_used(mnms_root):
    reader = MnmsReader(mnms_root, "mnms")
    assert reader.unused() == {"Training/Unlabeled": 1}
    assert "E4S9V9" not in [subject.id for subject in reader.subjects()]


def test_the_table_is_found_by_its_columns_in_any_order(mnms_root):
    next(mnms_root.glob("*.csv")).unlink()
    (mnms_root / "volumes.csv").write_text("code,volume\nA0S9V9,120\n")
    codes = ["A0S9V9", "B1S9V9", "C2S9V9", "D3S9V9"]
    columns = TABLE_COLUMNS[::-1]
    table = write_table(mnms_root, [table_row(code)[::-1] for code in codes], columns)
    table.write_text("\ufeff" + table.read_text(), encoding="utf-8")  # as Excel saves it
    table.rename(mnms_root / "renamed.csv")
    assert len(MnmsReader(mnms_root, "mnms").subjects()[3].frames()) == 2


def test_a_table_without_pathology_will_do(mnms_root):
    columns = [column for column in TABLE_COLUMNS if column != "Pathology"]
    rows = [table_row(code)[:7] + table_row(code)[8:] for code in ("A0S9V9", "B1S9V9", "C2S9V9", "D3S9V9")]
    write_table(mnms_root, rows, columns)
    assert {subject.pathology for subject in MnmsReader(mnms_root, "mnms").subjects()} == {"unknown"}


def test_numbers_may_be_written_as_decimals_and_cells_empty(mnms_root):
    rows = []
    for code in ("A0S9V9", "B1S9V9", "C2S9V9", "D3S9V9"):
        row = table_row(code, ed="0.0", es="2.0")
        row[1] = ""
        rows.append(row)
    write_table(mnms_root, rows)
    subject = MnmsReader(mnms_root, "mnms").subjects()[0]
    assert subject.vendor == "unknown"
    np.testing.assert_array_equal(subject.frames()[1].image, picture("A0S9V9 2"))


def test_a_code_without_a_folder_is_no_fault(mnms_root):
    table = next(mnms_root.glob("*.csv"))
    table.write_text(table.read_text() + "9," + ",".join(table_row("Z9Z9Z9")) + "\n")
    assert len(MnmsReader(mnms_root, "mnms").subjects()) == 4


def test_a_part_may_be_absent(mnms_root):
    (mnms_root / "Validation").rename(mnms_root / "elsewhere")
    assert {subject.part for subject in MnmsReader(mnms_root, "mnms").subjects()} == {"training", "testing"}


def test_a_subject_travels_to_another_process(mnms_root):
    subject = pickle.loads(pickle.dumps(MnmsReader(mnms_root, "mnms").subjects()[0]))  # noqa: S301 - our own bytes
    assert len(subject.frames()) == 2
