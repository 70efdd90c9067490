"""Neighbours among flipped and rotated training images: a copy is a copy also when it was turned round."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmr.errors import DataError
from evaluation.privacy.search import PatientDistances, image_distance, patient_distances

SMALL_ANGLES = (-15, -10, -5, 5, 10, 15)
TRANSFORMS = (
    *("as it is", "rotated by 90°", "rotated by 180°", "rotated by 270°"),
    *("flipped left to right", "flipped top to bottom", "flipped about the diagonal", "flipped about the other diagonal"),
    *(f"rotated by {angle}°" for angle in SMALL_ANGLES),
)
"""All eight symmetries of a square, and six small rotations (counter-clockwise)."""


def transformed(images: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    """``images`` (N, S, S) under each of :data:`TRANSFORMS`, one set after the other."""
    for turns in range(4):
        yield np.rot90(images, turns, axes=(1, 2))
    yield images[:, :, ::-1]
    yield images[:, ::-1]
    yield images.transpose(0, 2, 1)
    yield images[:, ::-1, ::-1].transpose(0, 2, 1)
    for angle in SMALL_ANGLES:
        # np.rot90 turns axis 1 towards axis 2 as ndimage does for positive angles of axes (1, 2).
        yield ndimage.rotate(images, angle, axes=(1, 2), reshape=False, order=1, mode="nearest")


def augmented_distances(
    queries: NDArray[np.floating], reference: NDArray[np.floating], subjects: NDArray[np.str_], *, block: int
) -> PatientDistances:
    """Distances of the queries to the patients, over all transforms of the reference images.

    Compared are the pixels of the inscribed disc, which every transform maps onto itself: no corner has to be made up. These
    distances are therefore smaller than those of whole images, also for the identity.

    Cost: as many plain searches as there are transforms (14); memory: that of one, and one transformed copy of the reference.

    Args:
        queries, reference: (N, S, S) and (M, S, S).
        subjects: (M,) patient of each reference image.

    Returns:
        The distances to the patients as if the transformed sets stood one after the other: ``divmod(row, M)`` gives the number
        in :data:`TRANSFORMS` and the row of the reference.

    Raises:
        DataError: images that are not square.
    """
    if reference.shape[1] != reference.shape[2]:
        raise DataError(
            f"images of {reference.shape[1:]} can't be compared with rotated ones: expected as many rows as columns"
        )
    disc = inscribed_disc(reference.shape[1])
    flat = queries[:, disc]
    found = None
    for number, images in enumerate(transformed(reference)):
        new = patient_distances(flat, images[:, disc], subjects, distance=image_distance, block=block)
        new = replace(new, row=new.row + number * len(reference))
        found = _nearer(found, new) if found else new
    assert found is not None  # there are transforms
    return found


def inscribed_disc(size: int) -> NDArray[np.bool_]:
    """(size, size) pixels within the largest circle about the centre."""
    offsets = np.arange(size) - (size - 1) / 2
    return offsets[:, None] ** 2 + offsets**2 <= (size / 2) ** 2


def _nearer(found: PatientDistances, new: PatientDistances) -> PatientDistances:
    nearest, second = np.sort([found.nearest, found.second, new.nearest, new.second], axis=0)[:2]
    return PatientDistances(found.patients, nearest, second, np.where(new.nearest < found.nearest, new.row, found.row))
