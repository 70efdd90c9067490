"""The same patients stored in other ways give the same slices: from the raw files to the store."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from cmr.ingest import ingest
from cmr.preprocess import N4Settings, PreprocessSettings, preprocess_dataset
from cmr.readers.acdc import AcdcReader
from cmr.slices import SliceSettings, cut_slices
from cmr.store import SliceStore
from tests.cmr.raw import heart, picture
from tests.cmr.stored import placed, save, turned, unit

VOXEL_MM = (10.0, 1.5, 1.25)
SETTINGS = SliceSettings(size=16, field_of_view_mm=32.0, low_percentile=1, high_percentile=99, minimum_range=0.0)
SCANS = {"patient001": "a", "patient002": "b", "patient003": "a"}  # the third is a copy
_ACDC_STORES = np.array([0, 3, 2, 1], dtype=np.uint8)


def scan(name: str) -> np.ndarray:
    """(3, 24, 20) whole grey values of a picture with a heart in it."""
    noise = ndimage.gaussian_filter(picture(name).astype(float), (0, 1, 1))
    return np.rint(noise + 200 * (heart() > 0)).astype(np.int16)


def write(
    root: Path, *, codes=("LPS",), ends=(".nii.gz",), labels=lambda v: v, values=lambda v: v, edit=None, unit_affine=False
):
    """The patients in ACDC's layout; patients and phases take their orientation and ending in turn."""
    turn = 0
    for patient, name in SCANS.items():
        folder = root / "training" / patient
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\n")
        for phase, frame in (("ED", "01"), ("ES", "12")):
            for tail, array in (("", values(scan(f"{name} {phase}"))), ("_gt", labels(_ACDC_STORES[heart()]))):
                image = placed(array, VOXEL_MM)
                if unit_affine:  # as ACDC's own files
                    image = nib.Nifti1Image(image.dataobj, np.diag([-1.0, -1.0, 1.0, 1.0]))
                    image.header.set_zooms(VOXEL_MM[::-1])
                stored = turned(image, codes[turn % len(codes)])
                save(folder / f"{patient}_frame{frame}{tail}{ends[turn % len(ends)]}", stored, edit)
                turn += 1


def slices(root: Path, work: Path) -> tuple[SliceStore, list[list[str]], list[str]]:
    """The store of the patients, the copies found, and all warnings."""
    reader = AcdcReader(root, "acdc")
    found = ingest(reader, skip_bad=False)
    kept = [subject for subject in reader.subjects() if subject.id != "patient003"]
    n4 = PreprocessSettings(N4Settings(2, (4,)), workers=1)
    summary = preprocess_dataset(
        kept, n4, SETTINGS.spacing_mm, out=work / "frames", cache=work / "cache", each=lambda each, all_: map(each, all_)
    )
    splits = dict.fromkeys(SCANS, "train")
    cut_slices(work / "frames", found.manifest, splits, SETTINGS, work / "store")
    return SliceStore.open(work / "store"), found.report["duplicates"], [*found.report["warnings"], *summary.notes]


WAYS = {
    "RAS": {"codes": ("RAS",)},
    "x and y swapped": {"codes": ("PLS",)},
    "slices first, from the head": {"codes": ("IPL",)},
    "each file in another order": {"codes": ("LPS", "RAS", "PLI", "ARS", "SLP")},
    "unit affine": {"unit_affine": True},
    "nii": {"ends": (".nii",)},
    "nii beside nii.gz": {"ends": (".nii", ".nii.gz", ".nii.gz")},
    "float labels": {"labels": lambda v: v.astype(np.float32)},
    "almost whole labels": {"labels": lambda v: v * 0.9999},
    "float images": {"values": lambda v: v.astype(np.float64)},
    "metres": {"edit": unit(1, 1e-3)},
    "micrometres": {"edit": unit(3, 1e3)},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory):
    place = tmp_path_factory.mktemp("plain")
    write(place / "raw")
    return slices(place / "raw", place)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_patients_give_the_same_slices_and_copies(plain, tmp_path: Path, way: str) -> None:
    store, copies, warnings = plain
    assert copies == [["patient001", "patient003"]]
    write(tmp_path / "raw", **WAYS[way])
    other, found, warned = slices(tmp_path / "raw", tmp_path)
    assert found == copies
    assert warned == warnings
    np.testing.assert_array_equal(other.masks, store.masks)
    np.testing.assert_allclose(np.asarray(other.images, float), np.asarray(store.images, float), atol=1e-3)
    pd.testing.assert_frame_equal(other.index, store.index, rtol=1e-5)
