import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cmr.errors import DataError
from cmr.nifti import NiftiFile, write_volume
from tests.cmr.raw import ACDC_AFFINE, VOXEL_MM, picture

VOLUME = picture("volume")


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume.nii.gz"
    write_volume(path, VOLUME, VOXEL_MM, ACDC_AFFINE)
    return path


def rewrite(path: Path, change) -> None:
    """Change the uncompressed bytes of a file."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    change(raw)
    path.write_bytes(gzip.compress(bytes(raw)))


def set_pixdim(path: Path, axis: int, value: float) -> None:
    def change(raw: bytearray) -> None:
        raw[76 + 4 * axis : 80 + 4 * axis] = np.float32(value).tobytes()

    rewrite(path, change)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_what_is_written_is_read(tmp_path, dtype, name):
    array = VOLUME.astype(dtype)
    write_volume(tmp_path / name, array, VOXEL_MM, ACDC_AFFINE)
    file = NiftiFile.open(tmp_path / name)
    assert (file.shape, file.frames) == (array.shape, 1)
    assert file.voxel_mm == pytest.approx(VOXEL_MM)
    assert file.values().dtype == dtype
    np.testing.assert_array_equal(file.values(), array)


def test_voxel_size_is_pixdim_even_where_the_affine_contradicts_it(volume):
    assert NiftiFile.open(volume).voxel_mm == pytest.approx(VOXEL_MM)
    np.testing.assert_array_equal(nib.load(volume).affine, ACDC_AFFINE)


def test_axes_are_those_of_the_file_reversed(volume):
    stored = np.asarray(nib.load(volume).dataobj)
    values = NiftiFile.open(volume).values()
    assert stored.shape == values.shape[::-1]
    assert stored[5, 7, 1] == values[1, 7, 5]


def test_time_points_of_a_4d_file(tmp_path):
    cine = np.stack([picture(str(time)) for time in range(3)])
    write_volume(tmp_path / "cine.nii.gz", cine, VOXEL_MM, ACDC_AFFINE)
    file = NiftiFile.open(tmp_path / "cine.nii.gz")
    assert (file.shape, file.frames) == (cine.shape[1:], 3)
    np.testing.assert_array_equal(file.values(2), cine[2])
    for index in (3, -1):
        with pytest.raises(DataError, match=rf"no frame {index}: the file holds 3"):
            file.values(index)


def test_header_scaling_is_applied(volume):
    image = nib.Nifti1Image(VOLUME.T, ACDC_AFFINE)
    image.header.set_slope_inter(2.0, 10.0)
    path = volume.with_name("scaled.nii")
    raw = bytearray(image.to_bytes())
    raw[112:120] = np.array([2.0, 10.0], dtype=np.float32).tobytes()
    path.write_bytes(raw)
    np.testing.assert_allclose(NiftiFile.open(path).values(), 2.0 * VOLUME + 10.0)


def test_big_endian_and_nifti2_are_read(tmp_path):
    big = nib.Nifti1Image(VOLUME.T, ACDC_AFFINE, header=nib.Nifti1Header(endianness=">"))
    (tmp_path / "big.nii").write_bytes(big.to_bytes())
    (tmp_path / "two.nii").write_bytes(nib.Nifti2Image(VOLUME.T, ACDC_AFFINE).to_bytes())
    for name in ("big.nii", "two.nii"):
        np.testing.assert_array_equal(NiftiFile.open(tmp_path / name).values(), VOLUME)


def test_a_fifth_dimension_of_one_is_ignored(tmp_path):
    (tmp_path / "v.nii").write_bytes(nib.Nifti1Image(VOLUME.T[..., None, None], ACDC_AFFINE).to_bytes())
    assert NiftiFile.open(tmp_path / "v.nii").shape == VOLUME.shape


def test_written_bytes_depend_on_the_content_only(volume):
    other = volume.with_name("other.nii.gz")
    write_volume(other, VOLUME, VOXEL_MM, ACDC_AFFINE)
    assert other.read_bytes() == volume.read_bytes()
    assert sorted(path.name for path in volume.parent.iterdir()) == ["other.nii.gz", "volume.nii.gz"]


@pytest.mark.parametrize("lost", [1, 8, 300])
def test_truncated_compressed_file(volume, truncate, lost):
    truncate(volume, lost)
    with pytest.raises(DataError, match=r"volume\.nii\.gz: the compressed file is truncated.*Fetch"):
        NiftiFile.open(volume)


def test_truncated_plain_file(volume, truncate):
    plain = volume.with_name("plain.nii")
    write_volume(plain, VOLUME, VOXEL_MM, ACDC_AFFINE)
    truncate(plain, 1)
    with pytest.raises(DataError, match=r"promises 3232 bytes .* 3231 are there"):
        NiftiFile.open(plain)


def test_damaged_compressed_file(volume):
    data = bytearray(volume.read_bytes())
    data[len(data) // 2] ^= 0xFF
    volume.write_bytes(data)
    with pytest.raises(DataError, match="the compressed file is damaged"):
        NiftiFile.open(volume)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"gone\.nii\.gz: the file is missing"):
        NiftiFile.open(tmp_path / "gone.nii.gz")


def test_a_folder_in_the_place_of_a_file(tmp_path):
    with pytest.raises(DataError, match="can't be read"):
        NiftiFile.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"a text", bytes(1000)])
def test_not_nifti(tmp_path, content):
    (tmp_path / "v.nii.gz").write_bytes(content)
    with pytest.raises(DataError, match="is not a NIfTI file"):
        NiftiFile.open(tmp_path / "v.nii.gz")


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 3, 2, 2)])
def test_wrong_dimensions(tmp_path, shape):
    (tmp_path / "v.nii").write_bytes(nib.Nifti1Image(np.ones(shape, np.uint8), ACDC_AFFINE).to_bytes())
    with pytest.raises(DataError, match=" x ".join(map(str, shape))):
        NiftiFile.open(tmp_path / "v.nii")


@pytest.mark.parametrize("value", [0.0, -1.5, np.nan, np.inf])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_voxel_size_must_be_positive_and_finite(volume, axis, value):
    set_pixdim(volume, axis, value)
    with pytest.raises(DataError, match="voxel size"):
        NiftiFile.open(volume)


def test_colour_and_complex_pixels_are_refused(tmp_path):
    (tmp_path / "v.nii").write_bytes(nib.Nifti1Image(VOLUME.T.astype(np.complex64), ACDC_AFFINE).to_bytes())
    with pytest.raises(DataError, match="one real number a pixel"):
        NiftiFile.open(tmp_path / "v.nii")


@pytest.mark.parametrize(
    ("content", "fetch"),
    [(b"/annex/objects/SHA256E-s663909", "datalad get"), (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull")],
)
def test_a_pointer_to_a_file_that_was_not_fetched(tmp_path, content, fetch):
    (tmp_path / "v.nii.gz").write_bytes(content)
    with pytest.raises(DataError, match=rf"v\.nii\.gz: only stands for a file that was not fetched.*{fetch}"):
        NiftiFile.open(tmp_path / "v.nii.gz")


def test_a_link_to_nowhere(tmp_path):
    (tmp_path / "v.nii.gz").symlink_to("../.git/annex/objects/none")
    with pytest.raises(
        DataError, match=r"v\.nii\.gz: is a link to \.\./\.git/annex/objects/none, which isn't there.*datalad get"
    ):
        NiftiFile.open(tmp_path / "v.nii.gz")
