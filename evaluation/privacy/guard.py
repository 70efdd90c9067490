"""The guard against near-copies: it finds drawn images that lie nearer to a training image than unseen patients do.

A guard is derived from patients. It holds no image and no name, but what it holds was computed from each training image, and
whoever has it can tell whether a given image was among them. It stays in house: it is never part of a model or of an export.

It compares as the neighbour figures do (copies: below the first percentile of the distances from hold-out to training), yet it
must be small and quick. Images are therefore projected to :data:`NUMBERS` random directions, which keep distances to a few per
cent (Johnson and Lindenstrauss 1984; with signs for directions: Achlioptas 2003, doi:10.1016/S0022-0000(03)00025-4). A copy
that was flipped or turned by 90° is found; one whose brightness or position was changed may not be.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from cmr.errors import DataError
from cmr.labels import CLASSES
from evaluation.privacy.augmented import transformed
from evaluation.privacy.search import image_distance

NUMBERS = 512
PERCENTILE = 1.0  # of the distances from hold-out to training: so many unseen images are called copies as well
_SYMMETRIES = 8  # of a square: flips and quarter turns, the first of evaluation.privacy.augmented
_SEED = 20_480_001
_BLOCK = 256  # images projected at a time


@dataclass(frozen=True)
class Guard:
    """What is needed to tell near-copies.

    Attributes:
        features: (M, NUMBERS) float32, the projected training images.
        threshold: the distance, in projected space, from which on an image counts as new.
        size: S, rows and columns of an image.
        of_masks: whether it compares label maps (one-hot) and not images.
    """

    features: NDArray[np.float32]
    threshold: float
    size: int
    of_masks: bool

    def copies(self, images: NDArray) -> NDArray[np.bool_]:
        """(N,) which of ``images`` (N, S, S) are near-copies. One that holds a NaN counts as a copy.

        Args:
            images: in [-1, 1], or labels 0-3 for a guard of masks.

        Raises:
            DataError: other shape or type than the guard was made for.
        """
        if images.ndim != 3 or images.shape[1:] != (self.size, self.size) or _are_labels(images) != self.of_masks:
            wanted = "labels (integers)" if self.of_masks else "images (fractions)"
            raise DataError(
                f"near-copy guard: found an array of {images.dtype} {images.shape}, expected {wanted} of the shape "
                f"(N, {self.size}, {self.size})"
            )
        return ~(_nearest(images, self.features) > self.threshold)

    def to_bytes(self) -> bytes:
        """The guard as an ``.npz`` file; the same guard gives the same bytes. Encrypt it before it is stored."""
        file = io.BytesIO()
        np.savez(file, features=self.features, threshold=self.threshold, size=self.size, of_masks=self.of_masks)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Guard":
        """The guard that :meth:`to_bytes` wrote; :class:`DataError` where the bytes are none."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                kept = float(file["threshold"]), int(file["size"]), bool(file["of_masks"])
                return cls(file["features"], *kept)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise DataError(f"not readable as a near-copy filter ({error}); `syncmri run` packages the model anew.") from error


def build_guard(train_images: NDArray, holdout_images: NDArray) -> Guard:
    """The guard of a model that was trained on ``train_images``.

    Args:
        train_images: (M, S, S) images in [-1, 1], or label maps (integers 0-3).
        holdout_images: (N, S, S) of the same kind, of patients whom the model has not seen.

    Raises:
        DataError: there are no images of either kind to compare.
    """
    if not len(train_images) or not len(holdout_images):
        raise DataError("near-copy guard: training and hold-out images are both needed, and one set is empty")
    features = _project(np.asarray(train_images))
    distances = _nearest(np.asarray(holdout_images), features)
    threshold = float(np.percentile(distances, PERCENTILE))
    return Guard(features, threshold, int(train_images.shape[-1]), _are_labels(train_images))


def _nearest(images: NDArray, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N,) distance to the nearest training image, the better of all flips and turns."""
    nearest = np.full(len(images), np.inf)
    for start in range(0, len(images), _BLOCK):
        block = slice(start, start + _BLOCK)
        turned = islice(transformed(np.asarray(images[block])), _SYMMETRIES)
        nearest[block] = np.min([image_distance(_project(one), features).min(axis=1) for one in turned], axis=0)
    return nearest


def _project(images: NDArray) -> NDArray[np.float32]:
    """(N, NUMBERS): sums of the pixels with random signs."""
    projected = np.empty((len(images), NUMBERS), np.float32)
    labels = _are_labels(images)
    for start in range(0, len(images), _BLOCK):
        block = np.asarray(images[start : start + _BLOCK])
        if labels:
            block = np.stack([block == label for label in range(CLASSES)], axis=1)
        pixels = np.ascontiguousarray(block.reshape(len(block), -1), np.float32)
        projected[start : start + _BLOCK] = pixels @ _directions(pixels.shape[1])
    return projected


@lru_cache(maxsize=2)
def _directions(pixels: int) -> NDArray[np.float32]:
    """(pixels, NUMBERS) of ±1/√NUMBERS. Made of a bit generator's raw output, which no version of NumPy changes."""
    words = np.random.PCG64(_SEED).random_raw(pixels * NUMBERS // 64)
    bits = np.unpackbits(words.astype("<u8").view(np.uint8)).reshape(pixels, NUMBERS)
    return (bits.astype(np.float32) * 2 - 1) / np.float32(np.sqrt(NUMBERS))


def _are_labels(images: NDArray) -> bool:
    return np.issubdtype(images.dtype, np.integer)
