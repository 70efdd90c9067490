import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from app.export import FORMATS, writer
from app.export.volume import SLICE_MM, WHITE
from cmr.errors import DataError
from cmr.folder import read_images, read_masks
from cmr.labels import LV, MYO, RV
from cmr.readers.acdc import AcdcReader
from cmr.store import SliceStore
from tests.pipelines.report_project import heart, picture

PIXEL = (2.5, 2.25)


@pytest.fixture(scope="module")
def drawn() -> SliceStore:
    rng = np.random.default_rng(3)
    masks = np.stack([heart(rng, 32) for _ in range(6)])
    names = [f"synthetic-{number:05d}" for number in range(len(masks))]
    index = pd.DataFrame({"subject": names, "row_mm": PIXEL[0], "column_mm": PIXEL[1]})
    return SliceStore(masks, index, np.stack([picture(mask, rng) for mask in masks]))


@pytest.fixture
def written(tmp_path: Path, drawn: SliceStore):
    def write(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        assert len(writer(name)(folder, drawn)) > 100
        return folder

    return write


def test_store(written, drawn: SliceStore) -> None:
    assert SliceStore.open(written("store")).digest() == drawn.digest()


def test_nifti_is_read_by_the_reader_of_the_challenge_s_layout(written, drawn: SliceStore) -> None:
    subjects = AcdcReader(written("nifti"), "acdc").subjects()
    assert [subject.id for subject in subjects] == drawn.index["subject"].tolist()
    for subject, image, mask in zip(subjects, drawn.images, drawn.masks, strict=True):
        diastole, systole = subject.frames()
        np.testing.assert_array_equal(diastole.label, mask[None])
        np.testing.assert_array_equal(systole.image, diastole.image)
        assert diastole.voxel_mm == (SLICE_MM, *PIXEL)
        np.testing.assert_allclose(diastole.image[0] / WHITE * 2 - 1, np.asarray(image, np.float32), atol=1 / WHITE)


def test_nifti_as_nibabel_sees_it(written, drawn: SliceStore) -> None:
    place = written("nifti") / "training/synthetic-00002"
    image, mask = (nib.load(place / f"synthetic-00002_frame01{end}.nii.gz") for end in ("", "_gt"))
    assert image.header.get_zooms() == (PIXEL[1], PIXEL[0], SLICE_MM)
    np.testing.assert_array_equal(image.affine, mask.affine)
    np.testing.assert_allclose(nib.affines.voxel_sizes(image.affine), image.header.get_zooms())
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    stored, labels = np.asarray(mask.dataobj)[:, :, 0].T, drawn.masks[2]
    for inside, acdc in ((RV, 1), (MYO, 2), (LV, 3)):
        np.testing.assert_array_equal(stored == acdc, labels == inside)


def test_png_keeps_labels_and_grey_values(written, drawn: SliceStore) -> None:
    folder = written("png")
    np.testing.assert_array_equal(read_masks(folder / "masks").masks, drawn.masks)
    images = read_images(folder / "images").images
    np.testing.assert_allclose(images, np.asarray(drawn.images, np.float32), atol=1 / 255)
    assert len(Image.open(folder / "masks/synthetic-00000.png").convert("RGB").getcolors()) == 4
    assert pd.read_csv(folder / "index.csv")["subject"].tolist() == drawn.index["subject"].tolist()


def test_nnunet_says_what_it_holds(written, drawn: SliceStore) -> None:
    folder = written("nnunet") / "Dataset900_SynCMRI"
    about = json.loads((folder / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "LV": 1, "MYO": 2, "RV": 3}
    assert about["numTraining"] == len(list((folder / "imagesTr").iterdir())) == len(drawn)
    stored = nib.load(folder / "labelsTr/synthetic-00001.nii.gz")
    np.testing.assert_array_equal(np.asarray(stored.dataobj)[:, :, 0].T, drawn.masks[1])


def test_nnunet_s_own_check_accepts_it(written, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    integrity = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    folder = written("nnunet") / "Dataset900_SynCMRI"
    integrity.verify_dataset_integrity(str(folder), num_processes=1)
    said = capsys.readouterr().out
    assert "verify_dataset_integrity Done" in said
    assert "Warning" not in said


def test_the_same_set_gives_the_same_bytes(tmp_path: Path, drawn: SliceStore) -> None:
    for name in FORMATS:
        one, other = tmp_path / name, tmp_path / f"{name}-again"
        for folder in (one, other):
            folder.mkdir()
            writer(name)(folder, drawn)
        assert {p.relative_to(one): p.read_bytes() for p in one.rglob("*.*") if p.is_file()} == {
            p.relative_to(other): p.read_bytes() for p in other.rglob("*.*") if p.is_file()
        }


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(DataError, match="Known: store, nifti, nnunet, png"):
        writer("dicom")
