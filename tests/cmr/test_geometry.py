"""Files say how their voxels lie: it is read, compared, and refused where it contradicts itself."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cmr.errors import DataError
from cmr.nifti import NiftiFile
from cmr.readers.base import labelled_frame
from tests.cmr.raw import heart, picture
from tests.cmr.stored import ORIENTATIONS, placed, rotations, save, turned, unit

VOXEL_MM = (8.0, 1.5, 1.25)
SCHEME = (0, 1, 2, 3)
IMAGE, LABEL = placed(picture("a"), VOXEL_MM), placed(heart(), VOXEL_MM)


def read(image: Path, label: Path):
    return labelled_frame("ED", NiftiFile.open(image), NiftiFile.open(label), SCHEME)


def refused(image: Path, label: Path, *expected: str) -> None:
    with pytest.raises(DataError) as caught:
        read(image, label)
    for part in expected:
        assert part in str(caught.value)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_pair_is_shown_alike_in_whatever_order_each_file_is_stored(tmp_path, codes):
    image = save(tmp_path / "i.nii", turned(IMAGE, codes))
    label = save(tmp_path / "l.nii.gz", turned(LABEL, codes[::-1]))
    for files in ((image, label), (image, save(tmp_path / "lps.nii", LABEL))):
        frame = read(*files)
        np.testing.assert_array_equal(frame.image, picture("a"))
        np.testing.assert_array_equal(frame.label, heart())
        assert frame.voxel_mm == pytest.approx(VOXEL_MM)


@pytest.mark.parametrize("turn", range(3))
def test_an_oblique_stack_keeps_its_slices_and_is_shown_from_the_apex(tmp_path, turn):
    """nibabel's nearest axes of the body would cut these along another plane."""
    affine = IMAGE.affine.copy()
    affine[:3, :3] = list(rotations())[turn] @ affine[:3, :3]
    image = nib.Nifti1Image(IMAGE.dataobj, affine)
    expected = NiftiFile.open(save(tmp_path / "a.nii", image))
    assert expected.shape == picture("a").shape
    across, down, through = expected.geometry.affine[:3, :3].T
    assert np.cross(across, down) @ through > 0
    assert across[0] < 0  # to the patient's left
    for codes in ORIENTATIONS:
        stored = image.as_reoriented(nib.orientations.axcodes2ornt(codes))
        found = NiftiFile.open(save(tmp_path / "b.nii", stored))
        np.testing.assert_array_equal(found.values(), expected.values())
        np.testing.assert_allclose(found.geometry.affine, expected.geometry.affine, atol=1e-3)


def test_cine_stacks_are_turned_frame_by_frame(tmp_path):
    cine = np.stack([picture(str(time)) for time in range(3)])
    image = nib.Nifti1Image(np.moveaxis(cine, 0, -1).transpose(2, 1, 0, 3), IMAGE.affine)
    file = NiftiFile.open(save(tmp_path / "cine.nii", turned(image, "RAI")))
    assert (file.frames, file.shape) == (3, cine.shape[1:])
    np.testing.assert_array_equal(file.values(2), cine[2])


def test_acdc_s_affine_of_unit_voxels_is_an_orientation_without_a_size(tmp_path):
    """diag(-1, -1, 1, 1) in every file of ACDC; nibabel keeps such units when it turns the file."""
    for codes in ("LPS", "RAS", "PLS"):
        files = []
        for name, array in (("i", picture("a")), ("l", heart())):
            image = nib.Nifti1Image(array.T, np.diag([-1.0, -1.0, 1.0, 1.0]))
            image.header.set_zooms(VOXEL_MM[::-1])
            stored = image if name == "i" else turned(image, codes)
            order = np.argsort([["L", "P", "S"].index(c.replace("R", "L").replace("A", "P")) for c in codes])
            zooms = np.array(VOXEL_MM[::-1])[np.argsort(order)] if name == "l" else VOXEL_MM[::-1]
            stored.header.set_zooms(tuple(zooms))
            files.append(save(tmp_path / f"{name}{codes}.nii", stored))
        frame = read(*files)
        np.testing.assert_array_equal(frame.label, heart())
        assert frame.voxel_mm == pytest.approx(VOXEL_MM)


def test_files_without_an_orientation_are_taken_as_they_are(tmp_path):
    def no_codes(header):
        header["sform_code"] = header["qform_code"] = 0

    files = [save(tmp_path / f"{n}.nii", image, no_codes) for n, image in (("i", IMAGE), ("l", LABEL))]
    frame = read(*files)
    np.testing.assert_array_equal(frame.image, picture("a"))
    identity = [nib.Nifti1Image(array.T, np.eye(4)) for array in (picture("a"), heart())]
    for image in identity:
        image.header.set_zooms(VOXEL_MM[::-1])
    files = [save(tmp_path / f"{n}.nii", image) for n, image in zip("il", identity, strict=True)]
    np.testing.assert_array_equal(read(*files).label, heart())


def moved(**change) -> nib.Nifti1Image:
    affine = LABEL.affine.copy()
    if "by" in change:
        affine[:3, 3] += change["by"]
    if "turn" in change:
        affine[:3, :3] = nib.eulerangles.euler2mat(z=np.radians(change["turn"])) @ affine[:3, :3]
    return nib.Nifti1Image(LABEL.dataobj, change.get("affine", affine))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (placed(heart(), (8.0, 1.0, 1.0)), ("differ in size", "8 x 1 x 1 mm", "8 x 1.5 x 1.25 mm")),
        (placed(heart(), (6.0, 1.5, 1.25)), ("differ in size", "6 x 1.5 x 1.25 mm")),
        (moved(by=(3.0, 0.0, 0.0)), ("different places", "(83, 60, -40)", "(80, 60, -40)")),
        (moved(by=(0.0, 0.0, 8.0)), ("different places",)),
        (moved(turn=10.0), ("different directions",)),
        (moved(affine=np.diag([1.25, 1.5, 8.0, 1.0])), ("different places", "orientation RAS", "orientation LPS")),
    ],
)
def test_a_mask_elsewhere_is_refused_and_both_are_said(tmp_path, label, expected):
    image = save(tmp_path / "scan.nii", IMAGE)
    mask = save(tmp_path / "mask.nii", label)
    refused(image, mask, str(mask), "its image scan.nii", "copy the image's header", *expected)


def test_a_mask_that_lost_its_orientation_is_refused_beside_an_image_that_has_one(tmp_path):
    mask = nib.Nifti1Image(heart().T, np.eye(4))
    mask.header.set_zooms(VOXEL_MM[::-1])
    refused(save(tmp_path / "i.nii", IMAGE), save(tmp_path / "l.nii", mask), "no orientation", "orientation LPS")


def test_rounding_of_the_header_is_no_difference(tmp_path):
    label = placed(heart(), (7.999999, 1.4999999, 1.2500001))
    np.testing.assert_array_equal(read(save(tmp_path / "i.nii", IMAGE), save(tmp_path / "l.nii", label)).label, heart())


@pytest.mark.parametrize(("code", "factor"), [(1, 1e-3), (3, 1e3), (0, 1.0), (2, 1.0), (10, 1.0)])
@pytest.mark.parametrize("with_affine", [True, False])
def test_units_of_length_are_applied(tmp_path, code, factor, with_affine):
    def edit(header):
        unit(code, factor)(header)
        if with_affine:
            for row in ("srow_x", "srow_y", "srow_z"):
                header[row] *= factor

    assert NiftiFile.open(save(tmp_path / "a.nii", IMAGE, edit)).voxel_mm == pytest.approx(VOXEL_MM)


@pytest.mark.parametrize(("code", "factor"), [(0, 1e-3), (0, 1e3), (2, 1e-3), (1, 1.0), (3, 1.0)])
def test_sizes_that_no_scanner_writes_are_refused(tmp_path, code, factor):
    with pytest.raises(DataError, match=r"a\.nii: the header's voxel size .*0\.05 to 100 mm were expected.*xyzt_units"):
        NiftiFile.open(save(tmp_path / "a.nii", IMAGE, unit(code, factor)))


@pytest.mark.parametrize("spacing", [0.06, 90.0])
def test_a_slice_too_small_or_too_large_for_a_heart_is_refused(tmp_path, spacing):
    files = [save(tmp_path / f"{n}.nii", placed(a, (8.0, spacing, spacing))) for n, a in (("i", picture("a")), ("l", heart()))]
    refused(*files, "i.nii: a slice of 24 x 20 pixels", "10 to 1000 mm were expected")


def test_an_unknown_unit_is_refused(tmp_path):
    with pytest.raises(DataError, match="unit of length is number 7"):
        NiftiFile.open(save(tmp_path / "a.nii", IMAGE, unit(7, 1.0)))


@pytest.mark.parametrize("axes", [slice(1, 4), slice(1, 3), slice(3, 4)])
def test_pixdim_left_at_1_beside_a_true_affine_is_refused(tmp_path, axes):
    def edit(header):
        header["pixdim"][axes] = 1

    with pytest.raises(DataError, match=r"contradicts itself.* mm by pixdim and 1\.25 x 1\.5 x 8 mm by the affine"):
        NiftiFile.open(save(tmp_path / "a.nii", IMAGE, edit))


def test_two_orientations_in_one_header_are_refused(tmp_path):
    image = nib.Nifti1Image(IMAGE.dataobj, IMAGE.affine)
    image.header.set_qform(np.diag([1.25, 1.5, 8.0, 1.0]), code=1)
    with pytest.raises(DataError, match="its sform says LPS, its qform RAS"):
        NiftiFile.open(save(tmp_path / "a.nii", image))


@pytest.mark.parametrize("offset", [0, 8, 348, 351])
def test_pixels_that_begin_inside_the_header_are_refused(tmp_path, offset):
    def edit(header):
        header["vox_offset"] = offset

    with pytest.raises(DataError, match=rf"a\.nii: .*begin at byte {offset} \(`vox_offset`\).*first 352"):
        NiftiFile.open(save(tmp_path / "a.nii", IMAGE, edit))


def test_pixels_of_another_width_than_their_type_are_refused(tmp_path):
    def edit(header):
        header["bitpix"] = 8

    with pytest.raises(DataError, match="int16 by `datatype` and of 8 bits by `bitpix`"):
        NiftiFile.open(save(tmp_path / "a.nii", IMAGE, edit))


def test_bytes_beyond_the_pixels_are_told(tmp_path):
    file = save(tmp_path / "a.nii", IMAGE)
    file.write_bytes(file.read_bytes() + bytes(600))
    assert "600 bytes longer than its header promises" in NiftiFile.open(file).notes[0]


def test_whatever_is_wrong_in_a_header_is_said_in_words(tmp_path):
    """Any 1 to 4 bytes of a header changed: the file is read, or the error is one for people."""
    rng = np.random.default_rng(0)
    good = save(tmp_path / "a.nii", IMAGE).read_bytes()
    outcomes = []
    for _ in range(300):
        raw = bytearray(good)
        start, count = int(rng.integers(0, 352)), int(rng.integers(1, 5))
        raw[start : start + count] = rng.integers(0, 256, count, dtype=np.uint8).tobytes()
        (tmp_path / "b.nii").write_bytes(bytes(raw))
        try:
            NiftiFile.open(tmp_path / "b.nii").values()
            outcomes.append("read")
        except DataError as error:
            outcomes.append("refused" if "b.nii" in str(error) else "refused without a name")
    assert "refused without a name" not in outcomes
    assert min(outcomes.count("read"), outcomes.count("refused")) > 40
