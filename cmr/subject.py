"""What a reader yields: one patient's scan with its labelled frames."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """One labelled time point of a cine study.

    Attributes:
        phase: ``"ED"`` or ``"ES"``.
        image: (slices, rows, columns) float32, scanner units. Row 0 is the top of the picture as radiologists look at it
            (anterior up, the patient's right on the left), whatever the order in the file; slices go towards head and base. Of
            a file without an orientation, rows and slices are taken as they are stored.
        label: (slices, rows, columns) uint8 in the scheme of :mod:`cmr.labels`.
        voxel_mm: slice spacing, row spacing, column spacing in mm, from the header's ``pixdim``.
        notes: what is odd about the files and no fault, in sentences for the user.
    """

    phase: str
    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    voxel_mm: tuple[float, float, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subject:
    """One patient as found on disk; the pixel data is read only when :attr:`frames` is called.

    Attributes:
        id: the patient's name in its dataset (``patient001``, ``A0S9V9``).
        dataset: the name under which the dataset is configured (``acdc``, ``mnms``, ...).
        part: the official part the patient lies in: ``"training"``, ``"validation"`` or ``"testing"``.
        vendor, centre, pathology: free text, ``"unknown"`` where the dataset does not say.
        frames: reads and checks the labelled frames, ED first; raises :class:`cmr.errors.DataError`.
    """

    id: str
    dataset: str
    part: str
    vendor: str
    centre: str
    pathology: str
    frames: Callable[[], list[Frame]]
