"""Folders of PNG and NIfTI files made by somebody else, good and bad."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cmr.errors import DataError
from cmr.folder import read_images, read_masks
from cmr.store import SliceStore

RNG = np.random.default_rng(0)


def png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def nifti(path, values, spacing=(1.25, 1.25, 10.0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values.T, np.eye(4))
    image.header.set_zooms(spacing[: values.ndim])
    path.write_bytes(image.to_bytes())


def test_8_and_16_bits_become_the_same_range(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    png(tmp_path / "a_1.png", grey)
    png(tmp_path / "b_1.png", grey.astype(np.uint16) * 257)
    png(tmp_path / "c_1.png", np.repeat(grey[..., None], 3, axis=2))
    found = read_images(tmp_path)
    assert found.images.shape == (3, 16, 16)
    assert (found.images.min(), found.images.max()) == (-1, 1)
    np.testing.assert_allclose(found.images[0], found.images[1], atol=1e-6)
    np.testing.assert_allclose(found.images[0], found.images[2], atol=1e-6)
    assert found.subjects.tolist() == ["a", "b", "c"]
    assert found.pixel_mm is None
    assert found.index["name"].tolist() == ["a_1", "b_1", "c_1"]


def test_nifti_slices_are_scaled_each_by_its_own_percentiles(tmp_path):
    volume = RNG.integers(0, 2000, (3, 20, 24)).astype(np.int16)
    nifti(tmp_path / "p1-ed.nii", volume)
    nifti(tmp_path / "p2-ed.nii", volume[0])
    found = read_images(tmp_path)
    assert found.images.shape == (4, 20, 24)
    assert all((image.min(), image.max()) == (-1, 1) for image in found.images)
    assert found.pixel_mm == (1.25, 1.25)
    assert found.index["slice"].tolist() == [0, 1, 2, 0]
    assert found.index["slice_mm"].isna().tolist() == [False, False, False, True]
    assert "percentile" in " ".join(found.notes)


def test_nifti_in_range_stays_as_it_is(tmp_path):
    values = RNG.uniform(-0.9, 0.8, (2, 16, 16)).astype(np.float32)
    nifti(tmp_path / "p.nii", values)
    np.testing.assert_array_equal(read_images(tmp_path).images, values)


def test_patients_of_a_csv_and_of_names(tmp_path):
    for name in ("x1", "x2", "x3"):
        png(tmp_path / f"{name}.png", np.zeros((16, 16), np.uint8))
    found = read_images(tmp_path)
    assert found.subjects.tolist() == ["x1", "x2", "x3"]
    assert "count as a patient each" in " ".join(found.notes)
    pd.DataFrame({"file": ["x1.png", "x2.png", "x3.png"], "patient": ["a", "a", "b"]}).to_csv(tmp_path / "patients.csv")
    assert read_images(tmp_path).subjects.tolist() == ["a", "a", "b"]
    pd.DataFrame({"file": ["x1.png"], "patient": ["a"]}).to_csv(tmp_path / "patients.csv")
    with pytest.raises(DataError, match=r"no patient for 2 of 3 files \(first: x2.png\)"):
        read_images(tmp_path)
    (tmp_path / "patients.csv").write_text("name,who\nx1.png,a\n")
    with pytest.raises(DataError, match="expected file, patient"):
        read_images(tmp_path)


def test_one_name_for_all_is_told(tmp_path):
    for number in range(3):
        png(tmp_path / f"sample_{number}.png", np.zeros((16, 16), np.uint8))
    assert "one patient, 'sample'" in " ".join(read_images(tmp_path).notes)


def test_masks(tmp_path):
    png(tmp_path / "a_1.png", np.arange(16, dtype=np.uint8).reshape(4, 4) % 4)
    assert read_masks(tmp_path).masks.dtype == np.uint8
    png(tmp_path / "a_2.png", np.full((4, 4), 85, np.uint8))
    with pytest.raises(DataError, match=r"a_2\.png: has the value 85; expected the labels 0 background, 1 LV"):
        read_masks(tmp_path)


def test_a_store(tmp_path):
    index = pd.DataFrame({"subject": ["a", "b"], "row_mm": 1.25, "column_mm": 1.25})
    SliceStore.write(tmp_path / "s", index, np.zeros((2, 16, 16), np.uint8), np.zeros((2, 16, 16), np.float16))
    found = read_images(tmp_path / "s")
    assert (found.pixel_mm, found.subjects.tolist()) == ((1.25, 1.25), ["a", "b"])
    assert found.index["vendor"].tolist() == ["unknown", "unknown"]
    SliceStore.write(tmp_path / "m", index, np.zeros((2, 16, 16), np.uint8))
    with pytest.raises(DataError, match="images are needed"):
        read_images(tmp_path / "m")


def test_bad_folders(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nothing; expected images"):
        read_images(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"only notes\.txt"):
        read_images(tmp_path)
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(DataError, match=r"a\.png: not readable as an image"):
        read_images(tmp_path)
    png(tmp_path / "a.png", RNG.integers(0, 255, (64, 64), dtype=np.uint8))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.png: not readable as an image"):
        read_images(tmp_path)
    png(tmp_path / "a.png", np.zeros((16, 16), np.uint8))
    png(tmp_path / "b.png", np.zeros((16, 20), np.uint8))
    with pytest.raises(DataError, match=r"b\.png: 16 × 20 pixels, but a\.png has 16 × 16"):
        read_images(tmp_path)
    png(tmp_path / "b.png", np.zeros((16, 16, 3), np.uint8) + np.array([0, 9, 0], np.uint8))
    with pytest.raises(DataError, match=r"b\.png: a colour picture"):
        read_images(tmp_path)
    nifti(tmp_path / "b.nii", np.zeros((16, 16), np.float32))
    with pytest.raises(DataError, match="mixed"):
        read_images(tmp_path)


def test_bad_nifti(tmp_path):
    values = RNG.normal(size=(2, 16, 16)).astype(np.float32)
    values[1, 3, 3] = np.nan
    nifti(tmp_path / "a.nii", values)
    with pytest.raises(DataError, match=r"a\.nii: holds values that are not finite"):
        read_images(tmp_path)
    nifti(tmp_path / "a.nii", np.zeros((2, 3, 16, 16), np.float32), (1, 1, 1, 1))
    with pytest.raises(DataError, match="2 time points"):
        read_images(tmp_path)
    nifti(tmp_path / "a.nii", np.zeros((16, 16), np.float32), (1.0, 1.0))
    nifti(tmp_path / "b.nii", np.zeros((16, 16), np.float32), (2.0, 2.0))
    with pytest.raises(DataError, match="1 × 1 and 2 × 2 mm"):
        _ = read_images(tmp_path).pixel_mm


def test_values_that_scaling_takes_just_out_of_the_range_stay_in_it(tmp_path):
    """Floats stored as int16 with a slope come back as 1.00002."""
    image = nib.Nifti1Image(RNG.uniform(-1, 1, (16, 16, 2)), np.eye(4))
    image.header.set_data_dtype(np.int16)
    raw = bytearray(image.to_bytes())
    slope = np.frombuffer(bytes(raw[112:116]), np.float32)[0]
    raw[112:116] = np.float32(slope * 1.0001).tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    found = read_images(tmp_path)
    assert "taken as they are" in " ".join(found.notes)
    assert np.abs(found.images).max() <= 1


def test_black_and_white_of_the_headers_hold_if_all_agree(tmp_path):
    for name, grey in (("a", 100), ("b", 4000)):
        values = np.full((16, 16), grey, np.int16)
        values[0, 0] = 0
        nifti(tmp_path / f"{name}.nii", values)
        raw = bytearray((tmp_path / f"{name}.nii").read_bytes())
        raw[124:132] = np.array([4000, 0], np.float32).tobytes()
        (tmp_path / f"{name}.nii").write_bytes(raw)
    found = read_images(tmp_path)
    assert found.images[:, 5, 5].tolist() == pytest.approx([-0.95, 1.0])
    raw[124:128] = np.float32(5000).tobytes()
    (tmp_path / "b.nii").write_bytes(raw)
    assert "percentile" in " ".join(read_images(tmp_path).notes)
