"""Preprocessing, stage 2: square windows on the heart, scaled slice by slice, as a slice store."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from cmr.errors import DataError
from cmr.labels import BACKGROUND
from cmr.preprocess import read_frames
from cmr.store import REAL_COLUMNS, SliceStore
from cmr.subject import Frame

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SliceSettings:
    """Stage 2.

    Attributes:
        size: S, rows and columns of a slice.
        field_of_view_mm: edge of the window; with ``size`` it sets the pixel size.
        low_percentile, high_percentile: of the window's intensities; clipped there, they become -1 and 1.
        minimum_range: a training slice must have more than this share (0-1) of its volume's intensity range, each range taken
            between the two percentiles; a slice with less shows next to nothing and is left out.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    size: int
    field_of_view_mm: float
    low_percentile: float
    high_percentile: float
    minimum_range: float

    def __post_init__(self) -> None:
        if self.size < 1 or not self.field_of_view_mm > 0:
            raise ValueError("slices.size and slices.field_of_view_mm must be positive")
        if not 0 <= self.low_percentile < self.high_percentile <= 100:
            raise ValueError("slices.low_percentile must lie below slices.high_percentile, both within 0 to 100")

    @property
    def spacing_mm(self) -> float:
        """Pixel size, to which stage 1 resamples."""
        return self.field_of_view_mm / self.size

    @property
    def percentiles(self) -> tuple[float, float]:
        return self.low_percentile, self.high_percentile


@dataclass(frozen=True)
class SliceSummary:
    """Rows written; slices left out without a label, or with too little range; windows smaller than their heart."""

    rows: int
    dropped_unlabelled: int
    dropped_flat: int
    cut_hearts: int


@dataclass(frozen=True)
class _Cut:
    images: NDArray[np.float16]
    masks: NDArray[np.uint8]
    rows: list[dict[str, Any]]
    summary: SliceSummary


def cut_slices(
    frames_dir: Path, manifest: pd.DataFrame, splits: Mapping[str, str], settings: SliceSettings, out_store: Path
) -> SliceSummary:
    """Cut every subject of the manifest that is no duplicate into the slice store ``out_store``.

    Rows of ``train``, ``val`` and ``holdout`` are labelled slices, each with its window centred on the bounding box of its own
    heart. Rows of ``test`` are all slices of a frame with one window, centred on the box of all its labels, so that whole
    volumes can be scored. Rows come by subject, then frame, then slice.

    Args:
        frames_dir: the output of :func:`cmr.preprocess.preprocess_dataset` at ``settings.spacing_mm``.
        manifest: the manifest of :mod:`cmr.ingest`, for who is who.
        splits: subject to train, val, test or holdout.

    Raises:
        DataError: a file of frames is missing, damaged or at another pixel size, a subject has no split, or no slice is left.
    """
    kept = manifest[manifest["duplicate_of"] == ""].sort_values("subject", kind="stable").drop_duplicates("subject")
    cuts = []
    for about in tqdm(kept.to_dict("records"), desc="slices", unit="subject"):
        subject = str(about["subject"])
        if subject not in splits:
            raise DataError(f"{subject}: in the manifest but in no split; run `dvc repro` to assign the splits again")
        file = frames_dir / f"{subject}.npz"
        for frame in read_frames(file):
            if not np.allclose(frame.voxel_mm[1:], settings.spacing_mm, rtol=1e-6):
                raise DataError(
                    f"{file}: pixels of {frame.voxel_mm[1]:g} mm, expected {settings.spacing_mm:g} mm "
                    "(slices.field_of_view_mm / slices.size); run `dvc repro` to preprocess again"
                )
            cuts.append(_cut_frame(frame, {**about, "split": splits[subject]}, settings))
    rows = [row for cut in cuts for row in cut.rows]
    if not rows:
        raise DataError(f"{frames_dir}: no slice of {len(kept)} subjects has labels and intensity range; check the masks")
    SliceStore.write(
        out_store,
        pd.DataFrame(rows, columns=list(REAL_COLUMNS)),
        np.concatenate([cut.masks for cut in cuts]),
        np.concatenate([cut.images for cut in cuts]),
    )
    return _total([cut.summary for cut in cuts])


def training_masks(store: SliceStore) -> SliceStore:
    """The mask-only store of the rows whose split is ``train``."""
    train = store.select(store.index["split"] == "train")
    return SliceStore(train.masks, train.index)


def heart_window(heart: NDArray[np.bool_], size: int) -> tuple[int, int, bool]:
    """First row and column of the window of ``size`` pixels centred on the bounding box of ``heart`` (rows, columns).

    The offsets may be negative: a window may reach beyond the plane. Without a heart the window is centred on the plane.

    Returns:
        First row, first column, and whether the box fits into the window.
    """
    boxes = [np.flatnonzero(heart.any(axis=1)), np.flatnonzero(heart.any(axis=0))]
    bounds = [(int(box[0]), int(box[-1]) + 1) if len(box) else (0, n) for box, n in zip(boxes, heart.shape, strict=True)]
    row, column = ((low + high - size) // 2 for low, high in bounds)
    fits = not heart.any() or all(high - low <= size for low, high in bounds)
    return row, column, fits


def crop(plane: NDArray[Any], row: int, column: int, size: int, fill: float) -> NDArray[Any]:
    """The window of ``size`` x ``size`` pixels from (``row``, ``column``) on; ``fill`` where it lies beyond the plane."""
    window = np.full((size, size), fill, plane.dtype)
    (top, bottom), (left, right) = (
        (min(max(0, -start), size), max(0, min(size, n - start))) for start, n in zip((row, column), plane.shape, strict=True)
    )
    window[top:bottom, left:right] = plane[row + top : row + bottom, column + left : column + right]
    return window


def scale(windows: NDArray[np.float32], percentiles: tuple[float, float]) -> NDArray[np.float16]:
    """(N, S, S) to [-1, 1], each slice clipped to its own percentiles (paper, III-A). A constant slice becomes -1."""
    low, high = np.percentile(windows, percentiles, axis=(1, 2), keepdims=True)
    span = np.where(high > low, high - low, 1.0)
    return (2 * (np.clip(windows, low, high) - low) / span - 1).astype(np.float16)


def _cut_frame(frame: Frame, about: dict[str, Any], settings: SliceSettings) -> _Cut:
    heart = frame.label != BACKGROUND
    labelled = heart.any(axis=(1, 2))
    whole_volume = about["split"] == "test"
    boxes = np.broadcast_to(heart.any(axis=0), heart.shape) if whole_volume else heart
    windows = [heart_window(box, settings.size) for box in boxes]
    images, masks = (
        np.stack([crop(p, row, column, settings.size, fill(p)) for p, (row, column, _) in zip(volume, windows, strict=True)])
        for volume, fill in ((frame.image, np.min), (frame.label, lambda _: BACKGROUND))
    )
    flat = _range(images, settings) <= settings.minimum_range * _range(frame.image[None], settings)
    keep = np.flatnonzero(np.ones_like(labelled) if whole_volume else labelled & ~flat)
    cut = [s for s in keep if not windows[s][2]]
    if cut:
        log.warning(
            "%s %s: the heart is larger than the window of %g mm in %d slices and was cut; check the mask or raise "
            "slices.field_of_view_mm", about["subject"], frame.phase, settings.field_of_view_mm, len(cut),
        )  # fmt: skip
    voxel = dict(zip(("slice_mm", "row_mm", "column_mm"), frame.voxel_mm, strict=True))
    rows = [
        {**about, **voxel, "phase": frame.phase, "slice": int(s), "labelled": bool(labelled[s])}
        | {"crop_row": windows[s][0], "crop_column": windows[s][1]}
        for s in keep
    ]
    unlabelled = 0 if whole_volume else int((~labelled).sum())
    summary = SliceSummary(len(keep), unlabelled, len(labelled) - len(keep) - unlabelled, len(cut))
    return _Cut(scale(images, settings.percentiles)[keep], masks[keep], rows, summary)


def _range(volumes: NDArray[np.float32], settings: SliceSettings) -> NDArray[np.float64]:
    low, high = np.percentile(volumes.reshape(len(volumes), -1), settings.percentiles, axis=1)
    return high - low


def _total(summaries: list[SliceSummary]) -> SliceSummary:
    return SliceSummary(
        rows=sum(s.rows for s in summaries),
        dropped_unlabelled=sum(s.dropped_unlabelled for s in summaries),
        dropped_flat=sum(s.dropped_flat for s in summaries),
        cut_hearts=sum(s.cut_hearts for s in summaries),
    )
