"""The slice store: the one on-disk format of every set of slices, real or synthetic.

A store is a folder of three files: ``images.npy`` (N, S, S) float16 in [-1, 1], ``masks.npy`` (N, S, S) uint8 in the scheme of
:mod:`cmr.labels`, and ``index.parquet`` with one row a slice. A mask-only store has no ``images.npy``.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cmr.errors import DataError, DataErrors
from cmr.files import whole_folder
from cmr.labels import CLASSES

# The columns of a real row; slice spacing and pixel size in mm, crop_*: offset of the window in the resampled plane, in pixels.
# A synthetic row adds generator, model, seed, sampler, steps and mask_source.
REAL_COLUMNS = (
    *("subject", "dataset", "split", "vendor", "centre", "pathology", "phase", "slice"),
    *("slice_mm", "row_mm", "column_mm", "crop_row", "crop_column", "labelled"),
)

_IMAGES, _MASKS, _INDEX = "images.npy", "masks.npy", "index.parquet"
_KIND = b"syncmri.images"  # a key of the parquet metadata: tells a mask-only store from one that lost its images
_BLOCK_BYTES = 1 << 24
_HALF_MAGNITUDE, _HALF_ONE = np.uint16(0x7FFF), 0x3C00  # float16 bit patterns: all but the sign; 1.0


@dataclass(frozen=True)
class SliceStore:
    """A set of slices, on disk (memory-mapped, read-only) or in memory.

    Attributes:
        masks: (N, S, S) uint8, labels 0-3.
        index: N rows with a RangeIndex; see :data:`REAL_COLUMNS`.
        images: (N, S, S) float16 in [-1, 1], or None in a mask-only store.
    """

    masks: NDArray[np.uint8]
    index: pd.DataFrame
    images: NDArray[np.float16] | None = None

    @classmethod
    def open(cls, path: str | Path) -> "SliceStore":
        """Open the store in folder ``path``; the arrays stay on disk until they are read.

        Raises:
            DataError: a file is missing or unreadable.
            DataErrors: the content breaks the format: counts, dtypes, shapes, labels, range or NaNs.
        """
        path = Path(path)
        index, with_images = _read_index(path / _INDEX)
        store = cls(_map(path / _MASKS), index, _map(path / _IMAGES) if with_images else None)
        store._check(path)
        return store

    @classmethod
    def write(
        cls, path: str | Path, index: pd.DataFrame, masks: NDArray[np.uint8], images: NDArray[np.float16] | None = None
    ) -> "SliceStore":
        """Write a store as a whole, in place of whatever was at ``path``, and open it.

        The same content gives the same bytes.

        Args:
            index: N rows, at least the column ``subject``.
            masks: (N, S, S) uint8, labels 0-3.
            images: (N, S, S) float16 in [-1, 1]; None for a mask-only store.

        Raises:
            DataErrors: the content breaks the format; nothing was written.
            DataError: the disk is full; nothing half-written is left and an older store at ``path`` is untouched.
        """
        path = Path(path)
        store = cls(masks, index.reset_index(drop=True), images)
        store._check(path)
        parquet = _parquet(store.index, images is not None)
        arrays: dict[str, NDArray[Any]] = {_MASKS: masks} if images is None else {_MASKS: masks, _IMAGES: images}
        needed = len(parquet) + sum(array.nbytes for array in arrays.values())
        with whole_folder(path, needed_bytes=needed) as folder:
            for name, array in arrays.items():
                with (folder / name).open("wb") as file:
                    _save(file, array)
            (folder / _INDEX).write_bytes(parquet)
        return cls.open(path)

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def size(self) -> int:
        """Rows, and columns, of a slice: S."""
        return int(self.masks.shape[-1])

    def select(self, rows: NDArray[np.bool_] | NDArray[np.integer] | pd.Series) -> "SliceStore":
        """The chosen rows, in memory: ``rows`` is a boolean for every row, or row numbers (in any order, repeats allowed)."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            if len(chosen) != len(self):
                raise ValueError(f"{len(chosen)} booleans given to choose from {len(self)} rows")
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64)
        images = None if self.images is None else np.asarray(self.images[chosen])
        return SliceStore(np.asarray(self.masks[chosen]), self.index.iloc[chosen].reset_index(drop=True), images)

    def digest(self) -> str:
        """SHA-256 (hex) of the content: the same in memory and on disk, whatever the library that wrote the file."""
        sha = hashlib.sha256()
        for column in self.index.columns:
            values = [None if pd.isna(value) else value for value in self.index[column].tolist()]
            sha.update(json.dumps([column, values]).encode())
        for array in (self.masks, self.images):
            if array is not None:
                sha.update(f"{array.dtype.str}{array.shape}".encode())
                for block in _blocks(array):
                    sha.update(block.data)
        return sha.hexdigest()

    def _check(self, path: Path) -> None:
        faults = _array_faults(_MASKS, self.masks, np.dtype(np.uint8), len(self.index), _label_fault)
        if self.images is not None:
            faults += _array_faults(_IMAGES, self.images, np.dtype(np.float16), len(self.index), _range_fault)
            if self.images.shape[1:] != self.masks.shape[1:]:
                faults.append(f"{_IMAGES} has slices of {self.images.shape[1:]}, {_MASKS} of {self.masks.shape[1:]}")
        if "subject" not in self.index.columns:
            faults.append(f"{_INDEX} has no column 'subject'; it has {', '.join(map(str, self.index.columns)) or 'none'}")
        if faults:
            raise DataErrors(f"{path}: not a valid slice store; make it again (`dvc repro`, or `dvc checkout`):", faults)


def concatenate(stores: Sequence[SliceStore]) -> SliceStore:
    """One in-memory store with the rows of all ``stores``, in order.

    Raises:
        DataError: no store, slices of different sizes, or some stores with images and some without.
    """
    sizes = sorted({store.size for store in stores})
    if len(sizes) != 1:
        raise DataError(f"slice stores of one size are needed, found sizes {sizes}; use one `slices.size` for all of them")
    images = [store.images for store in stores if store.images is not None]
    if images and len(images) != len(stores):
        raise DataError(
            f"{len(images)} of {len(stores)} slice stores have images and the others only masks; they can't be joined"
        )
    return SliceStore(
        np.concatenate([store.masks for store in stores]),
        pd.concat([store.index for store in stores], ignore_index=True),
        np.concatenate(images) if images else None,
    )


def _parquet(index: pd.DataFrame, with_images: bool) -> bytes:
    table = pa.Table.from_pandas(index, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KIND: b"yes" if with_images else b"no"})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _read_index(file: Path) -> tuple[pd.DataFrame, bool]:
    _require(file)
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: not readable as Parquet ({error}); restore it with `dvc checkout` or `dvc repro`") from error
    return table.to_pandas(), (table.schema.metadata or {}).get(_KIND) != b"no"


def _map(file: Path) -> NDArray[Any]:
    _require(file)
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{file}: not readable as a NumPy array ({error}); restore it with `dvc checkout` or `dvc repro`"
        ) from error


def _require(file: Path) -> None:
    if not file.is_file():
        raise DataError(
            f"{file}: missing. A slice store is a folder with {_MASKS}, {_INDEX} and, unless it holds masks only, {_IMAGES}; "
            "make it with `dvc repro` or fetch it with `dvc checkout`"
        )


def _save(file: BinaryIO, array: NDArray[Any]) -> None:
    # np.save reports a full disk as an OSError without its errno, plain writes keep it.
    np.lib.format.write_array_header_1_0(file, {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape})
    for block in _blocks(array):
        file.write(block.data)


def _blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    rows = max(1, _BLOCK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start : start + rows])


def _array_faults(
    name: str, array: NDArray[Any], dtype: np.dtype[Any], rows: int, value_fault: Callable[[NDArray[Any]], str | None]
) -> list[str]:
    if array.ndim != 3 or array.shape[1] != array.shape[2]:
        return [f"{name} has the shape {array.shape}, expected (slices, size, size)"]
    faults = [] if len(array) == rows else [f"{name} has {len(array)} slices, {_INDEX} has {rows} rows"]
    if array.dtype != dtype:
        return [*faults, f"{name} has the dtype {array.dtype}, expected {dtype}"]
    fault = next((fault for block in _blocks(array) if (fault := value_fault(block))), None)
    return faults if fault is None else [*faults, f"{name} {fault}"]


def _label_fault(masks: NDArray[np.uint8]) -> str | None:
    highest = int(masks.max(initial=0))
    return None if highest < CLASSES else f"has the label {highest}, expected labels 0 to {CLASSES - 1}"


def _range_fault(images: NDArray[np.float16]) -> str | None:
    # On the bits: float16 arithmetic is slow on CPUs, and every magnitude above 1.0, inf and NaN is a larger integer.
    highest = int((images.view(np.uint16) & _HALF_MAGNITUDE).max(initial=0))
    if highest <= _HALF_ONE:
        return None
    if highest > 0x7C00:
        return "has NaNs, expected numbers in [-1, 1]"
    return f"has values up to {np.abs(images.astype(np.float32)).max():g} in magnitude, expected numbers in [-1, 1]"
