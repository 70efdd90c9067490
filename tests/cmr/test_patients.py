"""Whose a file is, by its name and by patients.csv; and files that were not fetched, twice there, or not read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmr.errors import DataError
from cmr.folder import read_images, read_masks
from cmr.patients import patient_of


@pytest.mark.parametrize(
    ("stem", "patient"),
    [
        ("sub-01_ses-1_bold", "sub-01"),
        ("sub-A0S9V9_slice-3", "sub-A0S9V9"),
        ("sub-07", "sub-07"),
        ("ACDC_001_0000", "ACDC_001"),
        ("MNMS_001_0000", "MNMS_001"),
        ("ACDC_001", "ACDC_001"),
        ("patient001_frame01_slice3", "patient001"),
        ("patient001_ED", "patient001"),
        ("patient_7_slice_3", "patient_7"),
        ("case-12", "case-12"),
        ("A0S9V9_sa_ED_3", "A0S9V9"),
        ("synthetic-00012", "synthetic-00012"),
        ("sample_3", "sample"),
        ("slice_003", "slice"),
        ("a_1", "a"),
        ("x1", "x1"),
        ("anna-ed", "anna"),
        ("_1", "_1"),
    ],
)
def test_the_patient_in_a_name(stem: str, patient: str) -> None:
    assert patient_of(stem) == patient


def masks(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(np.full((8, 8), number % 4, np.uint8)).save(folder / f"{name}.png")
    return folder


def test_two_cohorts_of_nnunet_are_told_apart_and_what_was_taken_is_said(tmp_path: Path) -> None:
    names = [f"{cohort}_{patient:03d}_{s:04d}" for cohort in ("ACDC", "MNMS") for patient in (1, 2) for s in range(3)]
    found = read_masks(masks(tmp_path, names))
    assert sorted(set(found.subjects)) == ["ACDC_001", "ACDC_002", "MNMS_001", "MNMS_002"]
    assert "4 in 12 files ('ACDC_001' of ACDC_001_0000.png, " in " ".join(found.notes)
    assert "patients.csv can say otherwise" in " ".join(found.notes)


def test_the_table_is_read_in_any_dialect_and_says_what_it_lacks(tmp_path: Path) -> None:
    masks(tmp_path, ["x1", "x2"])
    (tmp_path / "patients.csv").write_bytes("file;patient\r\nx1.png;Zoë\r\nx2.png;Zoë\r\n".encode("utf-8-sig"))
    assert read_masks(tmp_path).subjects.tolist() == ["Zoë", "Zoë"]
    (tmp_path / "patients.csv").write_text("file,patient\nx1.png,a\nx1.png,b\nx2.png,c\n")
    with pytest.raises(DataError, match=r"x1\.png is listed with several patients"):
        read_masks(tmp_path)
    (tmp_path / "patients.csv").unlink()
    (tmp_path / "patients.csv").symlink_to("../.git/annex/none")
    with pytest.raises(DataError, match=r"patients\.csv: is a link to .*datalad get"):
        read_masks(tmp_path)


@pytest.mark.parametrize("read", [read_masks, read_images])
def test_files_that_were_not_fetched_are_named_and_never_left_out(tmp_path: Path, read) -> None:
    masks(tmp_path, [f"patient{patient:03d}_slice{s}" for patient in range(4) for s in range(3)])
    for number, file in enumerate(sorted(tmp_path.iterdir())[:4]):
        file.unlink()
        if number:
            file.symlink_to("../.git/annex/objects/none.png")
        else:
            file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(DataError, match=r"4 of 12 files are not there.*patient000_slice0\.png, only stands.*git lfs pull"):
        read(tmp_path)


def test_a_folder_that_was_not_fetched_is_named(tmp_path: Path) -> None:
    (tmp_path / "set").symlink_to("nowhere")
    with pytest.raises(DataError, match="set: is a link to nowhere, which isn't there"):
        read_masks(tmp_path / "set")


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    masks(tmp_path, ["a_1", "a_2"])
    (tmp_path / "more").mkdir()
    (tmp_path / "photo.jpg").touch()
    assert "2 other files and folders are not read: more, photo.jpg" in " ".join(read_masks(tmp_path).notes)


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    for name in ("a.nii", "a.nii.gz"):
        (tmp_path / name).write_bytes(bytes(4000))
    with pytest.raises(DataError, match="several files are called a"):
        read_masks(tmp_path)


def test_images_without_their_masks_are_refused(tmp_path: Path) -> None:
    masks(tmp_path / "images", ["a", "b"])
    masks(tmp_path / "masks", ["a"])
    with pytest.raises(DataError, match=r"1 names are not in both \(first: b\)"):
        read_images(tmp_path)
