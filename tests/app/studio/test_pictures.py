import base64
import io

import numpy as np
import pytest
from PIL import Image

from app.studio.pictures import COLOURS, from_text, grey_url, mask_url, to_text
from cmr.errors import DataError
from cmr.labels import LV, MYO, RV

MASK = np.array([[0, 1, 2], [3, 0, 1], [2, 3, 0]], np.uint8)


def _pixels(url: str) -> np.ndarray:
    head, _, content = url.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_a_mask_survives_the_way_to_the_editor_and_back() -> None:
    assert to_text(MASK) == "012301230"
    back = from_text(to_text(MASK))
    np.testing.assert_array_equal(back, MASK)
    assert back.dtype == np.uint8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "0 characters"),
        ("", "0 characters"),
        ("01230", "5 characters"),
        ("0124", "digits from 0 to 3"),
        ("<b>1", "digits from 0 to 3"),
        ("000²", "digits from 0 to 3"),
        ("0" * 16, "mask is empty"),
    ],
)
def test_what_is_no_mask_is_refused(text: str | None, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        from_text(text)


def test_images_are_grey_from_black_to_white() -> None:
    shown = _pixels(grey_url(np.array([[-1.0, 0.0], [1.0, 2.0]])))
    assert shown.tolist() == [[0, 128], [255, 255]]


def test_structures_have_their_colours_and_the_overlay_leaves_the_background_free() -> None:
    shown = _pixels(mask_url(MASK))
    for label in (LV, MYO, RV):
        assert {tuple(pixel[:3]) for pixel in shown[label == MASK].tolist()} == {COLOURS[label]}
    assert (shown[..., 3] == 255).all()
    np.testing.assert_array_equal(_pixels(mask_url(MASK, transparent=True))[..., 3] == 255, MASK != 0)
