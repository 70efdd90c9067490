"""A slice as a NIfTI volume of one slice, in the grey values that scanners write."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmr.nifti import write_volume

WHITE = 4095
SLICE_MM = 10.0
"""Usual for cine stacks. Each slice is drawn by itself: what thickness it stands for is not known."""

ABOUT = (
    f"Grey values: whole numbers from 0 (-1 in the generator's range) to {WHITE} (1). Each file holds one slice; its in-plane "
    f"voxel size is the generator's, its thickness of {SLICE_MM:g} mm is nominal."
)


def write_image(path: Path, image: NDArray[np.floating], pixel_mm: tuple[float, float]) -> None:
    """Write an image (H, W) in [-1, 1]; ``pixel_mm``: row and column spacing."""
    grey = np.rint((np.asarray(image, np.float32) + 1) / 2 * WHITE)
    _write(path, np.clip(grey, 0, WHITE).astype(np.int16), pixel_mm)


def write_mask(path: Path, mask: NDArray[np.uint8], pixel_mm: tuple[float, float]) -> None:
    """Write labels (H, W) as they are."""
    _write(path, np.asarray(mask), pixel_mm)


def _write(path: Path, plane: NDArray[np.generic], pixel_mm: tuple[float, float]) -> None:
    row_mm, column_mm = pixel_mm
    # Columns run to the patient's left and rows to the back, as in the picture; NIfTI's axes run to the right and the front.
    affine = np.diag([-column_mm, -row_mm, SLICE_MM, 1.0])
    write_volume(path, plane[None], (SLICE_MM, row_mm, column_mm), affine)
