"""One scan stored in the ways in which programs store it; nibabel writes the files."""

import gzip
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

ORIENTATIONS = [
    "".join(codes) for axes in itertools.permutations(("LR", "PA", "SI")) for codes in itertools.product(*axes)
]  # all 48


def placed(array: NDArray, voxel_mm: tuple[float, float, float]) -> nib.Nifti1Image:
    """(slices, rows, columns) as shown, as an image in LPS order whose affine tells size and place."""
    slice_mm, row_mm, column_mm = voxel_mm
    affine = np.diag([-column_mm, -row_mm, slice_mm, 1.0])
    affine[:3, 3] = (80.0, 60.0, -40.0)
    image = nib.Nifti1Image(array.T, affine)
    image.header.set_xyzt_units("mm", "sec")
    return image


def turned(image: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    """The same voxels at the same places, stored in another order."""
    return image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(codes)))


def save(path: Path, image: nib.Nifti1Image, edit: Callable[[nib.Nifti1Header], None] | None = None) -> Path:
    """Write the image, its header changed by ``edit``; packed where the name ends in ``.gz``."""
    data = image.to_bytes()
    if edit:
        header = type(image.header)(data[: image.header.sizeof_hdr], check=False)
        edit(header)
        data = header.binaryblock + data[image.header.sizeof_hdr :]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def unit(code: int, factor: float) -> Callable[[nib.Nifti1Header], None]:
    """An edit: ``pixdim`` in another unit."""

    def edit(header: nib.Nifti1Header) -> None:
        header["xyzt_units"] = code
        header["pixdim"][1:4] *= factor

    return edit


def rotations() -> Iterator[NDArray[np.float64]]:
    """Some ways in which short-axis planes lie in the body: (3, 3) matrices that turn them out of the axial plane."""
    for degrees in ((50.0, 30.0, 35.0), (55.0, 35.0, 20.0), (50.0, 30.0, 0.0)):
        about_x, about_y, about_z = np.radians(degrees)
        yield nib.eulerangles.euler2mat(about_z, about_y, about_x)
