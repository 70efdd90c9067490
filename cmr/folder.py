"""Sets of images or masks from anywhere: a slice store, or a folder of PNG or NIfTI files that another program made."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from cmr.errors import DataError
from cmr.labels import whole_labels
from cmr.limit import OWN, Limit
from cmr.nifti import NiftiFile
from cmr.slices import scale
from cmr.store import SliceStore

PATIENTS = "patients.csv"
UNKNOWN = "unknown"
_PERCENTILES = (1.0, 99.0)  # as the second stage of preprocessing (paper, III-A)
_VOXEL = ("slice_mm", "row_mm", "column_mm")
_SUFFIXES = {".png": "PNG", ".nii": "NIfTI", ".nii.gz": "NIfTI"}
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
    """

    path: Path
    images: NDArray[np.float32] | None
    masks: NDArray[np.uint8] | None
    index: pd.DataFrame
    notes: tuple[str, ...] = ()

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
        sizes = np.unique(self.index[["row_mm", "column_mm"]].to_numpy(dtype=float).round(3), axis=0)
        if np.isnan(sizes).any():
            return None
        if len(sizes) > 1:
            raise DataError(f"{self.path}: pixels of {_listed(sizes)} mm; expected one size: resample the images to it")
        return float(sizes[0, 0]), float(sizes[0, 1])


@dataclass(frozen=True)
class _Read:
    """What one file holds: values (slices, H, W), and the slice, row and column spacing, NaN where it is not known."""

    values: NDArray[Any]
    voxel_mm: tuple[float, float, float] = (np.nan, np.nan, np.nan)


def read_images(path: Path) -> ImageSet:
    """The images of a slice store, or of a folder.

    PNG: 8 or 16 bits, grey; the whole range of the type becomes [-1, 1]. NIfTI: 2D, or 3D with a slice each along z; values
    that lie in [-1, 1] and are negative somewhere are taken as they are, all others are scaled slice by slice from their 1st
    and 99th percentile to [-1, 1], as this project's preprocessing does.

    Patients: from ``patients.csv`` in the folder (columns ``file,patient``); else from the file name up to the first ``_`` or
    ``-``; a name without either is its own patient.

    Raises:
        DataError: nothing to read, a file that is no image, a colour picture, images of several sizes, NaNs, an incomplete
            ``patients.csv``.
    """
    if _is_store(path):
        store = SliceStore.open(path)
        if store.images is None:
            raise DataError(f"{path}: a store of masks without images; images are needed here")
        return _of_store(path, store)
    kind, files = _files(path)
    read = [_png_image(file) if kind == "PNG" else _nifti(file) for file in files]
    images, notes = _stack(path, files, read).astype(np.float32), []
    if kind == "PNG":
        notes.append("PNG: the range of the type (0 to 255, or to 65535) taken as [-1, 1]")
    elif -1 <= images.min() < 0 and images.max() <= 1:
        notes.append("NIfTI: values lie in [-1, 1] and are taken as they are")
    else:
        images = scale(images, _PERCENTILES).astype(np.float32)
        notes.append("NIfTI: each slice scaled from its 1st and 99th percentile to [-1, 1]")
    return _of_folder(path, files, read, notes, images=images)


def read_masks(path: Path, limit: Limit = OWN) -> ImageSet:
    """The masks of a slice store, or of one PNG or NIfTI file or a folder of them, with the labels 0 background, 1 LV, 2 MYO,
    3 RV.

    Patients as in :func:`read_images`.

    Args:
        limit: how much each file may hold.

    Raises:
        DataError: nothing to read, a file that is no mask or too large, masks of several sizes, an incomplete ``patients.csv``.
    """
    if _is_store(path):
        return _of_store(path, SliceStore.open(path))
    kind, files = _files(path)
    read = [_labels(file, _png_mask(file, limit) if kind == "PNG" else _nifti(file, limit)) for file in files]
    return _of_folder(path, files, read, [], masks=_stack(path, files, read).astype(np.uint8))


def _is_store(path: Path) -> bool:
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


def _files(path: Path) -> tuple[str, list[Path]]:
    inside = [path] if path.is_file() else path.iterdir()
    found = sorted(file for file in inside if file.is_file() and file.name != PATIENTS and file.name[0] != ".")
    kinds = {file: kind for file in found for suffix, kind in _SUFFIXES.items() if file.name.lower().endswith(suffix)}
    if not kinds:
        others = f"only {', '.join(file.name for file in found[:3])}" if found else "nothing"
        raise DataError(f"{path}: holds no .png, .nii or .nii.gz file, {others}; expected images, or a slice store")
    if len(set(kinds.values())) > 1:
        raise DataError(f"{path}: PNG and NIfTI files are mixed; keep them in folders of their own: their values differ")
    return next(iter(kinds.values())), list(kinds)


def _of_folder(path: Path, files: list[Path], read: list[_Read], notes: list[str], **pixels: NDArray[Any]) -> ImageSet:
    patients, about = _patients(path, [file.name for file in files])
    rows = []
    for file, one, patient in zip(files, read, patients, strict=True):
        whole = len(one.values) > 1
        # One slice alone is no volume, whatever its header says of the distance to a next one.
        place = dict(zip(_VOXEL, (one.voxel_mm[0] if whole else np.nan, *one.voxel_mm[1:]), strict=True))
        for number in range(len(one.values)):
            name = f"{_stem(file.name)} slice {number}" if whole else _stem(file.name)
            rows.append({"name": name, "subject": patient, "phase": _stem(file.name), "slice": number, **place})
    index = pd.DataFrame(rows).assign(vendor=UNKNOWN, labelled=True)
    return ImageSet(
        path, pixels.get("images"), pixels.get("masks"), index, tuple(f"{path}: {note}" for note in [*notes, *about])
    )


def _patients(path: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """The patient of each file, and remarks."""
    if (path / PATIENTS).is_file():
        try:
            table = pd.read_csv(path / PATIENTS, dtype=str, keep_default_na=False)
        except (ValueError, UnicodeDecodeError) as error:
            raise DataError(f"{path / PATIENTS}: not readable as CSV ({error})") from error
        if not {"file", "patient"} <= set(table.columns):
            raise DataError(f"{path / PATIENTS}: columns {', '.join(table.columns)}; expected file, patient")
        known = dict(zip(table["file"], table["patient"], strict=True))
        if lacking := [name for name in names if not known.get(name)]:
            raise DataError(f"{path / PATIENTS}: no patient for {len(lacking)} of {len(names)} files (first: {lacking[0]})")
        return [known[name] for name in names], []
    stems = [_stem(name) for name in names]
    patients = [stem.replace("-", "_").partition("_")[0] or stem for stem in stems]
    alone = sum(patient == stem for patient, stem in zip(patients, stems, strict=True))
    remarks = []
    if alone:
        remarks.append(
            f"{alone} of {len(names)} files count as a patient each: their names have no _ or -, and there is no {PATIENTS}"
        )
    if len(set(patients)) == 1 and len(names) > 1:
        remarks.append(f"all files count as one patient, '{patients[0]}', from their names: {PATIENTS} can say otherwise")
    return patients, remarks


def _stem(name: str) -> str:
    return name[: -len(next(suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)))]


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


def _labels(file: Path, read: _Read) -> _Read:
    values, odd = whole_labels(read.values)
    if odd:
        raise DataError(f"{file}: has the value {odd[0]}; expected the labels 0 background, 1 LV, 2 MYO, 3 RV")
    return replace(read, values=values)


def _nifti(file: Path, limit: Limit = OWN) -> _Read:
    opened = NiftiFile.open(file, single_slices=True, limit=limit)
    if opened.frames > 1:
        raise DataError(f"{file}: has {opened.frames} time points; expected one, 2D or a stack of slices")
    values = opened.values()
    if not np.isfinite(values).all():
        raise DataError(f"{file}: holds values that are not finite; make it again")
    return _Read(values, opened.voxel_mm)


def _listed(sizes: NDArray[np.float64]) -> str:
    return " and ".join(" × ".join(f"{size:g}" for size in pair) for pair in sizes[:3])
