"""Features of the pictures alone, for the blind attack: what can be told without the network is no memory of the network.

If the blind attack does better than chance, members and non-members differ as pictures (scanner, centre, time), and an attack
on the network may just see that (Das, Zhang and Tramèr 2024, "Blind baselines beat membership inference attacks for foundation
models", doi:10.48550/arXiv.2406.16201).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.signal.windows import hann

from cmr.errors import DataError
from cmr.labels import STRUCTURES
from evaluation.images import check_masks, to_unit

BINS = 16  # of the histogram, and rings of the power spectrum
LEVELS = 8  # of grey, in the co-occurrences
SHIFTS = ((0, 1), (1, 0), (0, 2), (2, 0))  # pixels between two that co-occur, down and to the right
STEEPNESS = np.array([0.0, *np.geomspace(0.005, 0.5, 15), 4.0])  # between the bins of the differences: noise below, edges above
THUMBNAIL = 4  # pixels a side
FAINT = 1e-6  # added to powers before the logarithm: an even picture has none


def blind_features(images: NDArray[np.floating]) -> NDArray[np.float64]:
    """Histogram, radial power spectrum, co-occurrence of grey levels, differences of neighbours and a thumbnail of images
    (N, H, W) in [-1, 1].

    Returns:
        (N, F) finite.

    Raises:
        DataError: wrong shape or range, values that are not finite, images smaller than the thumbnail.
    """
    pictures = to_unit(images, "attacked").astype(np.float64)
    if min(pictures.shape[1:]) < THUMBNAIL:
        raise DataError(f"attacked images: {pictures.shape[1:]} pixels; expected at least {THUMBNAIL} a side")
    return np.hstack([part(pictures) for part in (_histogram, _power_spectrum, _co_occurrences, _differences, _thumbnail)])


def blind_mask_features(masks: NDArray[np.integer]) -> NDArray[np.float64]:
    """The same of each structure's own picture, for masks (N, H, W) with labels 0-3."""
    masks = check_masks(masks, "attacked")
    return np.hstack([blind_features(2.0 * (masks == label) - 1) for label in STRUCTURES.values()])


def _histogram(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    level = np.minimum((pictures * BINS).astype(int), BINS - 1).reshape(len(pictures), -1)
    return np.stack([(level == bin_).mean(axis=1) for bin_ in range(BINS)], axis=1)


def _power_spectrum(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the mean power in rings of equal width up to the highest frequency along an axis."""
    height, width = pictures.shape[1:]
    window = np.outer(hann(height), hann(width))  # else the jump from one border to the other fills all rings
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    power = np.abs(np.fft.fft2(centred * window, norm="ortho")) ** 2
    radius = np.hypot(np.fft.fftfreq(height, 0.5)[:, None], np.fft.fftfreq(width, 0.5))
    ring = np.minimum((radius * BINS).astype(int), BINS).ravel()  # the last: the corners beyond
    inside = np.stack([(ring == number) / max((ring == number).sum(), 1) for number in range(BINS)], axis=1)
    return np.log(power.reshape(len(power), -1) @ inside + FAINT)


def _co_occurrences(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Texture: root of the share of each pair of grey levels among pixels a shift apart (doi:10.1109/TSMC.1973.4309314)."""
    levels = np.minimum((pictures * LEVELS).astype(int), LEVELS - 1)
    height, width = pictures.shape[1:]
    shares = []
    for down, right in SHIFTS:
        pairs = LEVELS * levels[:, : height - down, : width - right] + levels[:, down:, right:]
        counts = [np.bincount(own.ravel(), minlength=LEVELS**2) / own.size for own in pairs]
        shares.append(np.sqrt(np.reshape(counts, (len(pictures), LEVELS**2))))
    return np.hstack(shares)


def _differences(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise and sharpness: root of the share of each size among the first and second differences, down and to the right."""
    shares = []
    for order in (1, 2):
        for axis in (1, 2):
            sizes = np.abs(np.diff(pictures, order, axis=axis)).reshape(len(pictures), -1)
            shares.append(np.sqrt([np.histogram(own, STEEPNESS)[0] / own.size for own in sizes]))
    return np.hstack(shares)


def _thumbnail(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    for axis in (1, 2):
        edges = np.arange(THUMBNAIL + 1) * pictures.shape[axis] // THUMBNAIL
        sums = np.add.reduceat(pictures, edges[:-1], axis=axis)
        pictures = sums / np.diff(edges).reshape(-1, *[1] * (2 - axis))
    return pictures.reshape(len(pictures), -1)
