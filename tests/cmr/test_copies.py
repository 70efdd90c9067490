"""Copies of a scan are found in whatever way they are stored."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from cmr.copies import same_scans, sample
from cmr.ingest import ingest
from cmr.readers.acdc import AcdcReader
from tests.cmr.raw import VOXEL_MM, add_acdc_patient, heart, picture
from tests.cmr.stored import placed, save, turned, unit

_ACDC_STORES = np.array([0, 3, 2, 1], dtype=np.uint8)


def smooth(name: str) -> np.ndarray:
    """(3, 24, 20): noise alone has no contrast that survives 16 pixels an edge."""
    return ndimage.gaussian_filter(picture(name).astype(float), (0, 2, 2))


def add(root: Path, name: str, scan: str, change=lambda values: values, codes: str = "LPS", edit=None, end: str = ".nii.gz"):
    """A testing patient of ACDC's layout, with pixels of ``scan``, stored in an orientation."""
    folder = root / "testing" / name
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\n")
    for phase, frame in (("ED", "01"), ("ES", "12")):
        image, label = change(smooth(f"{scan} {phase}")), _ACDC_STORES[heart()]
        save(folder / f"{name}_frame{frame}{end}", turned(placed(image, VOXEL_MM), codes), edit)
        save(folder / f"{name}_frame{frame}_gt{end}", turned(placed(label, VOXEL_MM), codes), edit)


def lost(values: np.ndarray) -> np.ndarray:
    """Mirrored, and no affine that says so."""
    return values[::-1, :, ::-1]


WAYS = {
    "float32": {"change": lambda v: v.astype(np.float32)},
    "to 255": {"change": lambda v: np.rint(v / v.max() * 255).astype(np.uint8)},
    "clipped to 255": {"change": lambda v: np.rint(np.clip(v / np.percentile(v, 99.5), 0, 1) * 255).astype(np.uint8)},
    "a million times": {"change": lambda v: (v * 1e6).astype(np.float32)},
    "minus 1000": {"change": lambda v: (v - 1000).astype(np.float32)},
    "z-score": {"change": lambda v: ((v - v.mean()) / v.std()).astype(np.float32)},
    "RAS": {"codes": "RAS"},
    "z first, backwards": {"codes": "IRP"},
    "metres": {"edit": unit(1, 1e-3)},
    "mirrored, unsaid": {"change": lost},
    "unpacked": {"end": ".nii"},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_found_however_it_is_stored(tmp_path, way):
    add(tmp_path, "patient001", "a")
    add(tmp_path, "patient002", "b")
    add(tmp_path, "patient003", "a", **WAYS[way])
    report = ingest(AcdcReader(tmp_path, "acdc"), skip_bad=False).report
    assert report["duplicates"] == [["patient001", "patient003"]]
    excluded = ingest(AcdcReader(tmp_path, "acdc"), skip_bad=False, excluded=["patient003"]).report
    assert excluded["excluded"] == [["patient001", "patient003"]]


def test_one_hot_pixel_makes_no_copies_of_different_scans():
    images = []
    for name in "abc":
        images.append(smooth(name))
        images[-1][1, 3, 3] = 65535
    found = same_scans([image.shape for image in images], [sample(image) for image in images])
    assert len(set(found)) == 3


def test_rows_and_columns_exchanged_are_found_in_oblong_and_square_slices():
    for image in (smooth("a"), smooth("a")[:, :20]):
        copies = [image, image.swapaxes(1, 2)[:, ::-1], smooth("b")[:, : image.shape[1]]]
        found = same_scans([copy.shape for copy in copies], [sample(copy) for copy in copies])
        assert found[0] == found[1] != found[2]


def test_nothing_is_no_copy_of_anything():
    assert len(same_scans([], [])) == 0


def test_frames_of_one_patient_are_told_apart(tmp_path):
    """Another patient with this ED alone is no duplicate."""
    add_acdc_patient(tmp_path, "testing", "patient001")
    add_acdc_patient(tmp_path, "testing", "patient002", scan="another")
    shutil.copy(
        tmp_path / "testing/patient001/patient001_frame01.nii.gz", tmp_path / "testing/patient002/patient002_frame01.nii.gz"
    )
    found = ingest(AcdcReader(tmp_path, "acdc"), skip_bad=False)
    assert found.report["duplicates"] == []
    assert "the same image: patient001 ED and patient002 ED" in found.report["warnings"]
    assert "scan" not in found.manifest
