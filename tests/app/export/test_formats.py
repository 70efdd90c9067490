import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from app.export import FORMATS, writer
from app.export.volume import SLICE_MM, WHITE
from cmr.errors import DataError, DataErrors
from cmr.folder import read_images, read_masks
from cmr.labels import LV, MYO, RV
from cmr.readers.acdc import AcdcReader
from cmr.store import SliceStore
from evaluation import sets
from evaluation.figure import to_json
from evaluation.networks import weights
from evaluation.sets import evaluate_privacy
from evaluation.statistics import IntervalSettings
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


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_read_back_as_the_same_set(written, drawn: SliceStore, name: str) -> None:
    folder = written(name)
    found = read_images(folder)
    np.testing.assert_allclose(found.images, np.asarray(drawn.images, np.float32), atol=1e-4)
    for masks in (found.masks, read_masks(folder).masks):
        np.testing.assert_array_equal(masks, drawn.masks)
    assert found.subjects.tolist() == drawn.index["subject"].tolist()
    if name == "nnunet":  # its folders alone, as nnU-Net's users know them
        images = read_images(folder / "Dataset900_SynCMRI/imagesTr")
        np.testing.assert_allclose(images.images, found.images, atol=1e-4)
        assert images.subjects.tolist() == found.subjects.tolist()


def test_each_format_has_the_same_figures(written, drawn: SliceStore, tmp_path: Path, monkeypatch) -> None:
    """Nearest-neighbour figures, which follow small grey-value differences; masks and patients are equal (see above)."""

    def no_weights(name: str):
        raise DataErrors(f"No weights for {name}", [])

    monkeypatch.setattr(weights, "load", no_weights)
    monkeypatch.setattr(sets, "INTERVALS", IntervalSettings(bootstrap=50, permutations=50, confidence=0.95))
    rng = np.random.default_rng(5)
    real = {}
    for part in ("train", "holdout"):
        masks = np.stack([heart(rng, 32) for _ in range(6)])
        index = pd.DataFrame({"subject": [f"{part}{number}" for number in range(6)], "row_mm": PIXEL[0], "column_mm": PIXEL[1]})
        SliceStore.write(tmp_path / part, index, masks, np.stack([picture(mask, rng) for mask in masks]))
        real[part] = read_images(tmp_path / part)
    found = {
        name: flat(to_json(evaluate_privacy(read_images(written(name)), real["train"], real["holdout"]).figures))
        for name in FORMATS
    }
    assert len(found["store"]) > 8
    for figures in found.values():
        assert figures == pytest.approx(found["store"], abs=1e-3)


def flat(figures: dict, prefix: str = "") -> dict[str, float]:
    """Values and ends of intervals under dotted names."""
    found = {}
    for name, entry in figures.items():
        if isinstance(entry, dict):
            found |= flat(entry, f"{prefix}{name}.")
        elif name in ("value", "ci_low", "ci_high") and entry is not None:
            found[prefix + name] = entry
    return found


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
    assert about["numTraining"] == len(list((folder / "imagesTr").glob("*.nii.gz"))) == len(drawn)
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
