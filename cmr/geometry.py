"""Where the voxels of a NIfTI file lie: their size in mm, the way they are shown, and whether two files share one grid."""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, inv_ornt_aff
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from cmr.errors import DataError

_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
_POSSIBLE_MM = (0.05, 100.0)  # edge of a voxel that an MR scanner can mean
_SIZE_TOLERANCE = 0.01  # share by which sizes of voxels may differ
_SHIFT_TOLERANCE = 0.5  # voxels by which two grids may differ anywhere
_TURN_TOLERANCE = math.cos(math.radians(3))
_THICK = 1.5  # slices of a stack lie further apart than its pixels, by at least this factor
# World axes of NIfTI: to the patient's right, front (anterior), head. A picture is looked at from the feet, the front or the
# left, as radiologists do: its columns run to the patient's left and back, its rows to the feet and back.
_ALONG_COLUMNS, _ALONG_ROWS, _AWAY = np.array([-1.0, -0.5, 0.0]), np.array([0.0, -0.5, -1.0]), np.array([1.0, -1.0, 1.0])
_AS_STORED = np.array([[0, 1], [1, 1], [2, 1]])


@dataclass(frozen=True)
class Geometry:
    """The grid of one volume, as the header tells it.

    Attributes:
        shape: slices, rows, columns as shown: anterior up, the patient's right on the left, slices towards head and base.
        voxel_mm: slice spacing, row spacing, column spacing in mm.
        affine: (4, 4) from column, row, slice as shown to the header's space; None where the header has no orientation.
        unit: True where the affine has voxels of 1 mm whatever ``pixdim`` says, as ACDC's has: its directions count, and its
            distances are voxels.
        axes: nibabel's orientation array (3, 2), from the file's axes to columns, rows and slices as shown.
        stored: the directions of the file's axes (``"LPS"``), or ``"no"``.
    """

    shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    affine: NDArray[np.float64] | None
    unit: bool
    axes: NDArray[np.int_]
    stored: str

    def shown(self, stored: NDArray[np.generic]) -> NDArray[np.generic]:
        """The file's array (x, y, z) as (slices, rows, columns)."""
        return np.asarray(apply_orientation(stored, self.axes)).T

    def __str__(self) -> str:
        size = "voxels of {:.6g} x {:.6g} x {:.6g} mm".format(*self.voxel_mm)
        if self.affine is None:
            return f"no orientation, {size}"
        x, y, z = self.affine[:3, 3]
        return f"orientation {self.stored}, {size}, first shown voxel at ({x:.5g}, {y:.5g}, {z:.5g})"


def read_geometry(path: Path, header: nib.Nifti1Header, shape: tuple[int, int, int]) -> Geometry:
    """The geometry in a header.

    The voxel size is ``pixdim`` in the header's unit (mm where it has none). The orientation is that of the sform, else of the
    qform. A header without either, and one whose affine is the identity, which programs write that know none, has none: its
    voxels are taken as they are shown.

    Args:
        shape: the file's x, y, z.

    Raises:
        DataError: sizes that are not positive, that no scanner writes, or that the affine contradicts; an affine that is none.
    """
    spacing = _spacing_mm(path, header, shape)
    affine = _affine(path, header)
    sizes = np.ones(3) if affine is None else voxel_sizes(affine)
    extended = np.array(shape) > 1  # one slice alone has no distance to a next one
    unit = bool(np.allclose(sizes[extended], 1, rtol=1e-3)) and not _agree(spacing, sizes, extended)
    if affine is None or np.array_equal(affine, np.eye(4)):
        axes, shown, stored = _AS_STORED, None, "no"
    else:
        if not unit:
            _refuse_disagreement(path, header, spacing, sizes, extended)
        axes = _axes(affine[:3, :3] / sizes, spacing, shape)
        shown, stored = affine @ inv_ornt_aff(axes, shape), "".join(nib.aff2axcodes(affine))
    columns, rows, slices = np.argsort(axes[:, 0]).tolist()
    voxel_mm = (float(spacing[slices]), float(spacing[rows]), float(spacing[columns]))
    return Geometry((shape[slices], shape[rows], shape[columns]), voxel_mm, shown, unit, axes, stored)


def difference(one: Geometry, other: Geometry) -> str:
    """Why the voxels of two files of one shape don't lie on one another; empty where they do, as far as the headers know."""
    if not np.allclose(one.voxel_mm, other.voxel_mm, rtol=_SIZE_TOLERANCE):
        return "their voxels differ in size"
    if one.affine is None or other.affine is None:
        return "" if one.affine is other.affine else "one of them has an orientation and the other has none"
    turned = np.sum(_directions(one.affine) * _directions(other.affine), axis=0) < _TURN_TOLERANCE
    if turned.any():
        return "their axes run in different directions"
    if one.unit != other.unit:
        return "" if np.array_equal(one.axes, other.axes) else "they are stored in different orientations, and one has no place"
    corners = np.array([[*corner, 1] for corner in itertools.product(*((0, size - 1) for size in one.shape[::-1]))], float)
    moved = corners @ (np.linalg.inv(one.affine) @ other.affine).T - corners
    return "they lie in different places" if np.abs(moved).max() > _SHIFT_TOLERANCE else ""


def _spacing_mm(path: Path, header: nib.Nifti1Header, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """For the file's x, y and z."""
    stored = header["pixdim"][1:4].astype(np.float64)
    try:
        unit = header.get_xyzt_units()[0]
    except KeyError:
        unit = f"number {int(header['xyzt_units']) % 8}"
    if unit not in _MM:
        raise DataError(
            f"{path}: the header's unit of length is {unit}; mm, metres or micrometres were expected. Correct `xyzt_units`."
        )
    if shape[2] == 1 and stored[2] == 0:
        stored[2] = 1 / _MM[unit]  # a plane alone
    if not (np.isfinite(stored).all() and (stored > 0).all()):
        x, y, z = stored
        raise DataError(
            f"{path}: the header's voxel size (pixdim) is {x:g} x {y:g} x {z:g} mm; three positive numbers "
            "were expected. Correct the header: distances in mm can't be measured without it."
        )
    spacing = stored
    if _MM[unit] != 1:  # 0.00125 m in float32 is 1.24999997 mm: the nearest label of a pixel between two would be another one
        spacing = np.array([float(f"{size * _MM[unit]:.7g}") for size in stored])
    extended = np.array(shape) > 1
    if not ((spacing >= _POSSIBLE_MM[0]) & (spacing <= _POSSIBLE_MM[1]))[extended].all():
        x, y, z = spacing
        raise DataError(
            f"{path}: the header's voxel size (pixdim, in the unit '{unit}') is {x:g} x {y:g} x {z:g} mm; "
            "{:g} to {:g} mm were expected. Correct `pixdim`, or its unit in `xyzt_units`.".format(*_POSSIBLE_MM)
        )
    return spacing


def _affine(path: Path, header: nib.Nifti1Header) -> NDArray[np.float64] | None:
    """The header's affine; None where it has none."""
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not (sform or qform):
        return None
    try:
        affine = np.asarray(header.get_best_affine(), np.float64)
        other = np.asarray(header.get_qform(), np.float64) if sform and qform else affine
    except (HeaderDataError, ValueError, np.linalg.LinAlgError) as error:
        raise DataError(f"{path}: the header's orientation can't be understood ({error}). Correct sform or qform.") from error
    if not np.isfinite(affine).all() or abs(np.linalg.det(_directions(affine))) < 0.1:
        raise DataError(
            f"{path}: the header's affine is {affine[:3].round(4).tolist()}; three axes that span a space were expected. "
            "Correct sform or qform."
        )
    codes = ["".join(nib.aff2axcodes(one)) for one in (affine, other)]
    if codes[0] != codes[1]:
        raise DataError(
            f"{path}: the header has two orientations: its sform says {codes[0]}, its qform {codes[1]}. Copy the right one "
            "over the other, or set the code of the wrong one to 0."
        )
    return affine


def _directions(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3): a unit vector a column; NaN for an axis of no length."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(affine[:3, :3] / voxel_sizes(affine))


def _agree(spacing: NDArray[np.float64], sizes: NDArray[np.float64], extended: NDArray[np.bool_]) -> bool:
    return bool(np.allclose(spacing[extended], sizes[extended], rtol=_SIZE_TOLERANCE))


def _refuse_disagreement(
    path: Path, header: nib.Nifti1Header, spacing: NDArray[np.float64], sizes: NDArray[np.float64], extended: NDArray[np.bool_]
) -> None:
    factor = _MM[header.get_xyzt_units()[0]]
    # Programs that change the unit of pixdim often leave the affine in mm.
    if _agree(spacing, sizes, extended) or _agree(spacing, sizes * factor, extended):
        return
    stated, drawn = (" x ".join(f"{size:.6g}" for size in of) for of in (spacing, sizes))
    raise DataError(
        f"{path}: the header contradicts itself: its voxels are {stated} mm by pixdim and {drawn} mm by the affine. Correct "
        "the one that is wrong: distances in mm follow from it."
    )


def _axes(directions: NDArray[np.float64], spacing: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.int_]:
    """Which of the file's axes are shown as columns, rows and slices, and which run the other way: nibabel's (3, 2) array.

    nibabel's own ``io_orientation`` assigns each axis to the nearest one of the body, and so would cut an oblique stack, as
    short-axis stacks are, along another plane than its slices.
    """
    through = _slice_axis(directions, spacing, shape)
    first, second = (axis for axis in range(3) if axis != through)
    options = [
        (column, row, sign, other)
        for column, row in ((first, second), (second, first))
        for sign, other in itertools.product((1, -1), repeat=2)
    ]

    def rank(option: tuple[int, int, int, int]) -> tuple[bool, float]:
        column, row = option[2] * directions[:, option[0]], option[3] * directions[:, option[1]]
        return bool(np.cross(column, row) @ _AWAY > 0), float(column @ _ALONG_COLUMNS + row @ _ALONG_ROWS)

    column, row, sign, other = max(options, key=rank)
    axes = np.zeros((3, 2), int)
    axes[column], axes[row] = (0, sign), (1, other)
    axes[through] = (2, 1 if directions[:, through] @ _AWAY > 0 else -1)
    return axes


def _slice_axis(directions: NDArray[np.float64], spacing: NDArray[np.float64], shape: tuple[int, int, int]) -> int:
    """The axis through the slices: the only one of one voxel, else the one of clearly thicker voxels, else towards the head."""
    single = np.flatnonzero(np.array(shape) == 1)
    if len(single) == 1:
        return int(single[0])
    thin, thick = np.argsort(spacing)[1:]
    return int(thick) if spacing[thick] > _THICK * spacing[thin] else int(np.argmax(np.abs(directions[2])))
