"""Sets of images or masks from anywhere: a slice store, or a folder of PNG or NIfTI files that another program made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from cmr.errors import DataError
from cmr.files import why_not_here
from cmr.geometry import Geometry, difference
from cmr.labels import whole_labels
from cmr.layouts import Files, find_files, kind
from cmr.limit import OWN, Limit
from cmr.nifti import NiftiFile
from cmr.slices import scale
from cmr.store import SliceStore

UNKNOWN = "unknown"
_PERCENTILES = (1.0, 99.0)  # as the second stage of preprocessing (paper, III-A)
_VOXEL = ("slice_mm", "row_mm", "column_mm")
_ROUNDING = 1e-3  # by which a header's scaling leaves the range
_DECODED_BYTES = 8  # of a pixel of a mask
_GREY = {"L": 255, "I;16": 65535, "I;16B": 65535, "I": 65535, "LA": 255, "RGB": 255, "RGBA": 255}


@dataclass(frozen=True)
class ImageSet:
    """Images, masks, or both, of one size, with what is known of them.

    Attributes:
        images: (N, H, W) float32 in [-1, 1], or None in a set of masks.
        masks: (N, H, W) uint8, labels 0-3, or None in a folder of images.
        index: N rows with ``name``, ``subject`` and ``vendor``; a store's further columns; ``phase``, ``slice``, ``labelled``
            and the voxel sizes (NaN: unknown) of a folder.
        notes: what was assumed, in sentences for the user.
        grids: of NIfTI files, by the ``phase`` in the index, where their voxels lie.
    """

    path: Path
    images: NDArray[np.float32] | None
    masks: NDArray[np.uint8] | None
    index: pd.DataFrame
    notes: tuple[str, ...] = ()
    grids: Mapping[str, Geometry] = field(default_factory=dict)

    @property
    def subjects(self) -> NDArray[np.str_]:
        """(N,) the patient of each."""
        return self.index["subject"].to_numpy(dtype=str)

    @property
    def pixel_mm(self) -> tuple[float, float] | None:
        """Row and column spacing; None where it is not known.

        Raises:
            DataError: the set has several.
        """
        if not {"row_mm", "column_mm"} <= set(self.index.columns):
            return None
        all_sizes = self.index[["row_mm", "column_mm"]].to_numpy(dtype=float)
        if np.isnan(all_sizes).any():
            return None
        sizes = np.unique(all_sizes.round(3), axis=0)
        if not np.allclose(all_sizes, all_sizes[0], rtol=1e-3):
            raise DataError(f"{self.path}: pixels of {_listed(sizes)} mm; expected one size: resample the images to it")
        return float(sizes[0, 0]), float(sizes[0, 1])


@dataclass(frozen=True)
class _Read:
    """What one file holds: values (slices, H, W); of NIfTI also where they lie, what is black and white, and remarks."""

    values: NDArray[Any]
    geometry: Geometry | None = None
    window: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def read_images(path: Path) -> ImageSet:
    """The images, with their masks where they have some, of a slice store, of a folder, or of one of this project's exports.

    PNG: 8 or 16 bits, grey; the whole range of the type becomes [-1, 1]. NIfTI: 2D, or 3D with a slice each; values that lie in
    [-1, 1] and are negative somewhere are taken as they are; where all headers name the same black and white (``cal_min``,
    ``cal_max``), these become -1 and 1; all others are scaled slice by slice from their 1st and 99th percentile to [-1, 1], as
    this project's preprocessing does.

    Patients: from ``patients.csv`` in the folder (columns ``file,patient``), else from the file names
    (:func:`cmr.patients.patient_of`).

    Raises:
        DataError: nothing to read, files that were not fetched, a file that is no image, a colour picture, images of several
            sizes, NaNs, an incomplete ``patients.csv``.
    """
    if _is_store(path):
        store = SliceStore.open(path)
        if store.images is None:
            raise DataError(f"{path}: a store of masks without images; images are needed here")
        return _of_store(path, store)
    files = find_files(path)
    png = kind(files.images) == "PNG"
    read = [_png_image(file) if png else _nifti(file) for file in files.images]
    images, note = _stack(path, files.images, read).astype(np.float32), "PNG: the range of the type becomes [-1, 1]"
    if not png:
        images, note = _in_range(images, {one.window for one in read})
    masks = None if files.masks == files.images else _read_labels(files, OWN)
    if masks:
        for file, mask, image in zip(files.masks, masks, read, strict=True):
            _refuse_elsewhere(file, mask, image)
    return _of_folder(path, files, read, [note], images, None if masks is None else _stack(path, files.masks, masks))


def read_masks(path: Path, limit: Limit = OWN) -> ImageSet:
    """The masks of a slice store, of one PNG or NIfTI file or a folder of them, or of one of this project's exports, with the
    labels 0 background, 1 LV, 2 MYO, 3 RV.

    Patients as in :func:`read_images`.

    Args:
        limit: how much each file may hold.

    Raises:
        DataError: nothing to read, files that were not fetched, a file that is no mask or too large, masks of several sizes, an
            incomplete ``patients.csv``.
    """
    if _is_store(path):
        return _of_store(path, SliceStore.open(path))
    files = find_files(path)
    read = _read_labels(files, limit)
    return _of_folder(path, files, read, [], None, _stack(path, files.masks, read))


def _is_store(path: Path) -> bool:
    if reason := why_not_here(path):
        raise DataError(f"{path}: {reason}")
    if not path.exists():
        raise DataError(f"{path}: there is no such folder; expected a slice store, or a folder of PNG or NIfTI images")
    return (path / "index.parquet").is_file()


def _of_store(path: Path, store: SliceStore) -> ImageSet:
    if not len(store):
        raise DataError(f"{path}: the store is empty")
    index = store.index.assign(name=[f"row {row}" for row in range(len(store))])
    index["vendor"] = index["vendor"].fillna(UNKNOWN) if "vendor" in index else UNKNOWN
    images = None if store.images is None else np.asarray(store.images, dtype=np.float32)
    return ImageSet(path, images, np.asarray(store.masks), index)


def _of_folder(
    path: Path,
    files: Files,
    read: list[_Read],
    notes: list[str],
    images: NDArray[np.float32] | None,
    masks: NDArray[np.uint8] | None,
) -> ImageSet:
    rows = []
    for name, patient, one in zip(files.names, files.patients, read, strict=True):
        whole = len(one.values) > 1
        voxel_mm = one.geometry.voxel_mm if one.geometry else (np.nan,) * 3
        # One slice alone is no volume, whatever its header says of the distance to a next one.
        place = dict(zip(_VOXEL, (voxel_mm[0] if whole else np.nan, *voxel_mm[1:]), strict=True))
        for number in range(len(one.values)):
            of_slice = f"{name} slice {number}" if whole else name
            rows.append({"name": of_slice, "subject": patient, "phase": name, "slice": number, **place})
    index = pd.DataFrame(rows).assign(vendor=UNKNOWN, labelled=True)
    grids = {name: one.geometry for name, one in zip(files.names, read, strict=True) if one.geometry}
    unknown = sum(grid.affine is None for grid in grids.values())
    if unknown:
        notes = [*notes, f"{unknown} of {len(grids)} files have no orientation: their pixels are taken as they are shown"]
    odd = [note for one in read for note in one.notes]
    told = [*(f"{path}: {note}" for note in [*files.notes, *notes]), *odd]
    return ImageSet(path, images, masks, index, tuple(told), grids)


def _in_range(images: NDArray[np.float32], windows: set[tuple[float, float] | None]) -> tuple[NDArray[np.float32], str]:
    """NIfTI values in [-1, 1], and how they came there."""
    low, high = float(images.min()), float(images.max())
    if -1 - _ROUNDING <= low < 0 and high <= 1 + _ROUNDING:
        return np.clip(images, -1, 1), "NIfTI: values lie in [-1, 1] and are taken as they are"
    if len(windows) == 1 and (window := next(iter(windows))):
        black, white = window
        scaled = np.clip(2 * (images - black) / (white - black) - 1, -1, 1)
        return scaled.astype(np.float32), f"NIfTI: {black:g} to {white:g}, black and white by the headers, becomes [-1, 1]"
    return (
        scale(images, _PERCENTILES).astype(np.float32),
        "NIfTI: each slice scaled from its 1st and 99th percentile to [-1, 1]",
    )


def _read_labels(files: Files, limit: Limit) -> list[_Read]:
    png = kind(files.masks) == "PNG"
    return [_labels(file, _png_mask(file, limit) if png else _nifti(file, limit), files.scheme) for file in files.masks]


def _labels(file: Path, read: _Read, scheme: NDArray[np.uint8]) -> _Read:
    values, odd = whole_labels(read.values)
    if odd:
        raise DataError(f"{file}: has the value {odd[0]}; expected the labels 0 background, 1 LV, 2 MYO, 3 RV")
    return replace(read, values=scheme[values])


def _refuse_elsewhere(file: Path, mask: _Read, image: _Read) -> None:
    if mask.values.shape != image.values.shape:
        raise DataError(f"{file}: {mask.values.shape} pixels, its image {image.values.shape}; expected one size")
    if mask.geometry and image.geometry and (reason := difference(image.geometry, mask.geometry)):
        raise DataError(f"{file}: doesn't lie on its image: {reason}: {mask.geometry}; the image has {image.geometry}")


def _stack(path: Path, files: list[Path], read: list[_Read]) -> NDArray[Any]:
    first = read[0].values.shape[1:]
    for file, one in zip(files, read, strict=True):
        if one.values.shape[1:] != first:
            size, expected = (" × ".join(map(str, shape)) for shape in (one.values.shape[1:], first))
            raise DataError(f"{file}: {size} pixels, but {files[0].name} has {expected}; expected one size in {path}")
    return np.concatenate([one.values for one in read])


def _png_image(file: Path) -> _Read:
    def grey(picture: Image.Image) -> NDArray[Any]:
        if picture.mode not in _GREY:
            raise DataError(f"{file}: a picture of the kind {picture.mode}; expected grey, 8 or 16 bits")
        pixels = np.asarray(picture)
        if pixels.ndim == 3:
            colours = pixels[..., : 3 if picture.mode.startswith("RGB") else 1]
            if (colours != colours[..., :1]).any():
                raise DataError(f"{file}: a colour picture; expected grey, 8 or 16 bits")
            pixels = colours[..., 0]
        return 2 * pixels.astype(np.float32) / _GREY[picture.mode] - 1

    return _opened(file, grey)


def _png_mask(file: Path, limit: Limit) -> _Read:
    def labels(picture: Image.Image) -> NDArray[Any]:
        pixels = np.asarray(picture)
        if pixels.ndim != 2:
            raise DataError(f"{file}: a colour picture; expected a mask: grey, or with a palette, with the labels 0 to 3")
        return pixels.astype(np.int64)

    return _opened(file, labels, limit)


def _opened(file: Path, read: Callable[[Image.Image], NDArray[Any]], limit: Limit = OWN) -> _Read:
    try:
        # By its content: a file of another kind under this name would meet another of the library's many decoders.
        with Image.open(file, formats=["PNG"]) as picture:
            width, height = picture.size
            if width * height * _DECODED_BYTES > limit.bytes:
                most = limit.bytes // _DECODED_BYTES
                raise DataError(f"{file}: {width} × {height} pixels; at most {most} pixels are read of a file here")
            if getattr(picture, "is_animated", False):
                raise DataError(f"{file}: an animated picture; expected a single one")
            return _Read(read(picture)[None])
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: not readable as an image ({error}); make it again, or take it out of the folder") from error


def _nifti(file: Path, limit: Limit = OWN) -> _Read:
    opened = NiftiFile.open(file, single_slices=True, limit=limit)
    if opened.frames > 1:
        raise DataError(f"{file}: has {opened.frames} time points; expected one, 2D or a stack of slices")
    values = opened.values()
    if not np.isfinite(values).all():
        raise DataError(f"{file}: holds values that are not finite; make it again")
    return _Read(values, opened.geometry, opened.window, opened.notes)


def _listed(sizes: NDArray[np.float64]) -> str:
    return " and ".join(" × ".join(f"{size:g}" for size in pair) for pair in sizes[:3])
