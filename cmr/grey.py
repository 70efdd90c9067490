"""Grey values as scanners write them, whatever a program made of them on the way."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

_FAR = 16.0  # ranges from the 5th to the 95th percentile; vessels of real scans reach 14 above
_OFTEN = 0.05  # share of negative pixels that no ringing makes


def usual_grey_values(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[str]]:
    """The image (slices, rows, columns) in the range that scanners write, and what was done to it, in sentences.

    An ordinary image comes back as it is. Pixels far from all others (hot ones, numbers below zero that wrapped to 65535) get
    the median of their neighbours in the slice: one of them alone would decide Otsu's threshold, and with it N4's mask. Values
    that are often negative (an offset of -1000, z-scores) are shifted to begin at 0: N4 divides, so it needs a true zero.
    """
    notes = []
    low, high = (float(value) for value in np.percentile(image, (5, 95)))
    far = (image < low - _FAR * (high - low)) | (image > high + _FAR * (high - low))
    if high > low and far.any():
        usual = image[~far]
        worst = image[far][np.argmax(np.abs(image[far] - low))]
        notes.append(
            f"{int(far.sum())} of {image.size} pixels lie far from all others (up to {worst:g}; 5th to 95th percentile {low:g} "
            f"to {high:g}) and were replaced by the median of their neighbours"
        )
        image = np.where(far, np.clip(median_filter(image, (1, 3, 3)), usual.min(), usual.max()), image)
    if (image < 0).mean() > _OFTEN:
        notes.append(f"grey values begin at {image.min():g} and were shifted to begin at 0")
        image = image - image.min()
    return image, notes
