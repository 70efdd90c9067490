"""A slice as a NIfTI volume of one slice, in whole grey values as scanners write them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmr.nifti import write_volume

WHITE = 32767
"""All of int16: 4095 levels, as scanners write, are coarser than the images and would change close comparisons."""
SLICE_MM = 10.0
"""Usual for cine stacks. Each slice is drawn by itself: what thickness it stands for is not known."""

ABOUT = (
    f"Grey values: whole numbers from 0 (-1 in the generator's range) to {WHITE} (1), which `cal_min` and `cal_max` of each "
    "header say too. Each file holds one slice; its in-plane voxel size is the generator's, its thickness of "
    f"{SLICE_MM:g} mm is nominal."
)


def write_image(path: Path, image: NDArray[np.floating], pixel_mm: tuple[float, float]) -> None:
    """Write an image (H, W) in [-1, 1]; ``pixel_mm``: row and column spacing."""
    grey = np.rint((np.asarray(image, np.float32) + 1) / 2 * WHITE)
    _write(path, np.clip(grey, 0, WHITE).astype(np.int16), pixel_mm, (0, WHITE))


def write_mask(path: Path, mask: NDArray[np.uint8], pixel_mm: tuple[float, float]) -> None:
    """Write labels (H, W) as they are."""
    _write(path, np.asarray(mask), pixel_mm)


def _write(
    path: Path, plane: NDArray[np.generic], pixel_mm: tuple[float, float], window: tuple[float, float] | None = None
) -> None:
    row_mm, column_mm = pixel_mm
    # Columns run to the patient's left and rows to the back, as in the picture; NIfTI's axes run to the right and the front.
    affine = np.diag([-column_mm, -row_mm, SLICE_MM, 1.0])
    write_volume(path, plane[None], (SLICE_MM, row_mm, column_mm), affine, window)
