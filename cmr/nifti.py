"""NIfTI files: read with every fault explained to the person who owns the file, written whole or not at all."""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import HeaderDataError
from numpy.typing import ArrayLike, NDArray

from cmr.errors import DataError
from cmr.files import whole_file, why_not_here
from cmr.geometry import Geometry, read_geometry
from cmr.limit import OWN, Limit

_GZIP_MAGIC = b"\x1f\x8b"
_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}  # NIfTI-1 and -2 start with the size of their header
_MAGIC = (b"n+1", b"n+2")
_DECODED_BYTES = 8  # of a voxel, where the header rescales
_PART = 1 << 20
_FETCH = "Fetch the file again from the dataset's source."


@dataclass(frozen=True)
class NiftiFile:
    """One NIfTI file, 3D or 4D, whose bytes and header have been checked; pixels are decoded by :meth:`values`.

    Attributes:
        path: where the file lies.
        geometry: size, orientation and place of its voxels as they are shown, whatever the order in the file. The voxel size
            is the header's ``pixdim`` and not the affine's: ACDC's affine is diag(-1, -1, 1, 1) whatever the voxel size.
        frames: number of time points, 1 for a 3D file.
        window: the values of black and white by the header (``cal_min``, ``cal_max``); None where it has none.
        notes: what is odd and no fault, in sentences for the user.
    """

    path: Path
    geometry: Geometry
    frames: int
    window: tuple[float, float] | None
    notes: tuple[str, ...]
    _stored: ArrayProxy

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return self.geometry.shape

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Slice spacing, row spacing, column spacing in mm."""
        return self.geometry.voxel_mm

    @classmethod
    def open(cls, path: Path, *, single_slices: bool = False, limit: Limit = OWN) -> "NiftiFile":
        """Read the whole file, so that a truncation is found wherever it lies, after its header has been checked.

        Args:
            single_slices: a 2D file is accepted too, as one slice.
            limit: how much the file may hold.

        Raises:
            DataError: the file is missing, unreadable, truncated, damaged, too large, not NIfTI, not 3D or 4D, not
                real-valued, or its header contradicts itself or has a voxel size that is impossible.
        """
        with _unpacked(path) as file:
            head = file.read(max(_HEADERS))
            header = _read_header(path, head)
            shape = _spatial_shape(path, header, single_slices)
            needed = _needed_bytes(path, header, shape, limit)
            raw = head + file.read(max(0, needed - len(head)))
            rest = 0
            while part := file.read(_PART):  # read for its check sum, and not kept
                rest += len(part)
                if len(raw) + rest > limit.bytes:
                    raise DataError(f"{path}: unpacks to more than the {limit.bytes >> 20} MiB that are read of a file here.")
        if len(raw) < needed:
            raise DataError(
                f"{path}: the file is truncated: its header promises {needed} bytes (uncompressed), {len(raw)} are there. "
                f"{_FETCH}"
            )
        more = len(raw) + rest - needed
        black, white = float(header["cal_min"]), float(header["cal_max"])
        longer = f"{path}: is {more} bytes longer than its header promises: are its dimensions and `vox_offset` right?"
        return cls(
            path=path,
            geometry=read_geometry(path, header, (shape[0], shape[1], shape[2])),
            frames=shape[3] if len(shape) == 4 else 1,
            window=(black, white) if np.isfinite(white - black) and white > black else None,
            notes=(longer,) if more else (),
            _stored=ArrayProxy(BytesIO(raw), header),
        )

    def values(self, index: int = 0) -> NDArray[np.generic]:
        """Decode one time point, scaled by the header's slope and intercept.

        Args:
            index: time point, counted from 0.

        Returns:
            (slices, rows, columns), in the file's own type, or float64 where the header rescales.

        Raises:
            DataError: the file has no such time point.
        """
        if not 0 <= index < self.frames:
            raise DataError(
                f"{self.path}: has no frame {index}: the file holds {self.frames} (0 to {self.frames - 1}, counted from 0). "
                "Correct this patient's ED or ES entry in the dataset's information table, or fetch the complete file."
            )
        spatial = (*self._stored.shape, 1)[:3]
        stored = self._stored.reshape((*spatial, self.frames))
        return self.geometry.shown(np.asarray(stored[..., index]))


def write_volume(
    path: Path,
    array: NDArray[np.generic],
    voxel_mm: tuple[float, float, float],
    affine: ArrayLike,
    window: tuple[float, float] | None = None,
) -> None:
    """Write a NIfTI-1 file whose bytes depend on the arguments only (no time stamp), so that its hash can be a version.

    Args:
        path: ends in ``.nii.gz`` (compressed) or ``.nii``.
        array: (slices, rows, columns) or (frames, slices, rows, columns); uint8, int16 or float32. Stored as x, y, z[, t].
        voxel_mm: slice, row and column spacing in mm, stored in ``pixdim`` even where it contradicts the affine.
        affine: (4, 4) matrix from voxel index to mm, stored as the sform.
        window: the values of black and white (``cal_min``, ``cal_max``), where they mean something.

    Raises:
        DataError: the disk is full.
    """
    slice_mm, row_mm, column_mm = voxel_mm
    image = nib.Nifti1Image(array.T, np.asarray(affine, dtype=np.float64))
    image.header.set_zooms((column_mm, row_mm, slice_mm, 1.0)[: array.ndim])
    image.header.set_xyzt_units("mm", "sec")
    if window:
        image.header["cal_min"], image.header["cal_max"] = window
    data = image.to_bytes()
    if path.suffix == ".gz":
        data = gzip.compress(data, compresslevel=6, mtime=0)
    with whole_file(path, needed_bytes=len(data)) as temporary:
        temporary.write_bytes(data)


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The file, unpacked as it is read; what is wrong with it is told in words."""
    if reason := why_not_here(path):
        raise DataError(f"{path}: {reason}")
    try:
        with path.open("rb") as stored:
            packed = stored.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            stored.seek(0)
            yield gzip.GzipFile(fileobj=stored) if packed else stored  # type: ignore[misc]
    except FileNotFoundError:
        raise DataError(f"{path}: the file is missing. Put it in its place, or remove the patient's folder.") from None
    except EOFError:
        size = path.stat().st_size
        raise DataError(
            f"{path}: the compressed file is truncated: it ends after {size} bytes, before its end mark. {_FETCH}"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the compressed file is damaged ({error}). {_FETCH}") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or error}). Check its permissions and its disk.") from error


def _read_header(path: Path, raw: bytes) -> nib.Nifti1Header:
    sizes = {int.from_bytes(raw[:4], "little"), int.from_bytes(raw[:4], "big")}
    kind = next((header for size, header in _HEADERS.items() if size in sizes and len(raw) >= size), None)
    # check=False: nibabel's own check replaces a voxel size of zero by 1 mm, which would go unseen
    header = kind(raw[: kind.sizeof_hdr], check=False) if kind else None
    if header is None or header["magic"].item() not in _MAGIC:
        raise DataError(
            f"{path}: is not a NIfTI file: what it holds (uncompressed) doesn't start with a NIfTI-1 or NIfTI-2 header. "
            f"A truncated file looks like this. {_FETCH}"
        )
    return header


def _spatial_shape(path: Path, header: nib.Nifti1Header, single_slices: bool) -> tuple[int, ...]:
    shape = tuple(int(size) for size in header.get_data_shape())
    if single_slices and len(shape) == 2:
        shape = (*shape, 1)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (3, 4) or min(shape) <= 0:
        raise DataError(
            f"{path}: has the dimensions {' x '.join(map(str, shape)) or 'of a single number'}; a stack of slices (x, y, z) or "
            "a cine stack (x, y, z, time) was expected. Export the short-axis stack as one 3D or 4D volume."
        )
    return shape


def _needed_bytes(path: Path, header: nib.Nifti1Header, shape: tuple[int, ...], limit: Limit) -> int:
    """How long the file must be for all its pixels, by its header; they can be decoded and keep to the ``limit``."""
    try:
        kind = header.get_data_dtype()
        header.get_slope_inter()  # raises for an intercept that is not a number
        offset = header.get_data_offset()
    except KeyError:
        raise DataError(f"{path}: the header's `datatype` {header['datatype']} is none of NIfTI's. {_FETCH}") from None
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: the header can't be understood ({error}). {_FETCH}") from error
    if kind.kind not in "iuf":
        raise DataError(
            f"{path}: holds pixels of type {kind}; one real number a pixel was expected. Convert it to grey values."
        )
    if int(header["bitpix"]) != 8 * kind.itemsize:
        raise DataError(
            f"{path}: the header contradicts itself: its pixels are of type {kind} by `datatype` and of {header['bitpix']} "
            f"bits by `bitpix`. {_FETCH}"
        )
    if not header.single_vox_offset <= offset <= limit.bytes:
        raise DataError(
            f"{path}: the header says that the pixels begin at byte {offset} (`vox_offset`), where they can't: the header "
            f"itself takes the first {header.single_vox_offset}. Correct `vox_offset`, or convert the file again."
        )
    if np.isinf(header["scl_slope"]):
        raise DataError(f"{path}: the header scales grey values by an infinite number (`scl_slope`). {_FETCH}")
    voxels, slices = math.prod(shape), shape[2]
    if voxels * max(kind.itemsize, _DECODED_BYTES) > limit.bytes or slices > limit.slices:
        raise DataError(
            f"{path}: {' x '.join(map(str, shape))} voxels; at most {limit.bytes // _DECODED_BYTES} voxels in {limit.slices} "
            "slices are read of a file here. Cut the volume to the heart."
        )
    return int(offset) + voxels * int(kind.itemsize)
