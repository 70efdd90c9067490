"""Masks and images as PNG pictures within a page, and masks as the text that the page's editor works on."""

import base64
import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cmr.errors import DataError
from cmr.labels import CLASSES, LV, MYO, RV

COLOURS = {LV: (213, 94, 0), MYO: (0, 158, 115), RV: (86, 180, 233)}
"""Told apart by the colour-blind too (Okabe and Ito 2008); those of the report."""
MOST_SIDE = 512
"""Pixels a side of a mask that is drawn for."""
_BACKGROUND = (17, 17, 17)


def grey_url(image: NDArray[np.floating]) -> str:
    """An image (H, W) in [-1, 1] as the address of an 8-bit PNG."""
    grey = np.rint((np.asarray(image, np.float32) + 1) * 127.5)
    return _url(Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)))


def mask_url(mask: NDArray[np.uint8], *, transparent: bool = False) -> str:
    """A label map (H, W) in colours as the address of a PNG; ``transparent``: nothing is painted where the background is."""
    table = np.array([(*_BACKGROUND, 0 if transparent else 255), *((*COLOURS[label], 255) for label in COLOURS)], np.uint8)
    return _url(Image.fromarray(table[mask]))


def to_text(mask: NDArray[np.uint8]) -> str:
    """A label map (S, S) as its S² digits, row by row."""
    return "".join(map(str, mask.ravel()))


def from_text(text: object) -> NDArray[np.uint8]:
    """The inverse of :func:`to_text`, of whatever a browser sends.

    Raises:
        DataError: it is no text of a square mask of at most :data:`MOST_SIDE` pixels a side, or the mask shows no heart.
    """
    text = text if isinstance(text, str) else ""
    size = math.isqrt(len(text))
    if not 1 <= size <= MOST_SIDE or size * size != len(text) or set(text) - set("0123456789"[:CLASSES]):
        raise DataError(
            f"A mask of {len(text)} characters arrived; expected S × S digits from 0 to {CLASSES - 1}, S at most {MOST_SIDE}."
        )
    mask = (np.frombuffer(text.encode("ascii"), np.uint8) - ord("0")).reshape(size, size)
    if not mask.any():
        raise DataError("The mask is empty: sample, upload or paint one first.")
    return mask


def _url(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
