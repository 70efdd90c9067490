import numpy as np
import pytest

from cmr.errors import DataError
from evaluation.images import check_masks, check_pairs, check_subjects, to_unit


def test_images_are_mapped_and_clipped():
    assert to_unit(np.array([[[-1.0, 0.0, 1.0, 1.2]]]), "real").tolist() == [[[0.0, 0.5, 1.0, 1.0]]]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((2, 4, 4), np.nan), "2 hold values that are not finite"),
        (np.full((2, 4, 4), 255.0), r"expected \[-1, 1\]"),
        (np.zeros((4, 4)), "expected \\(N, H, W\\)"),
    ],
)
def test_unusable_images_are_errors(images, message):
    with pytest.raises(DataError, match=message):
        to_unit(images, "synthetic")


def test_unusable_masks_and_names_are_errors():
    with pytest.raises(DataError, match="labels -1 to 0"):
        check_masks(np.array([[[-1, 0]]]), "test")
    with pytest.raises(DataError, match="same number"):
        check_pairs(np.zeros(3), np.zeros(4), "a and b")
    with pytest.raises(DataError, match="one each"):
        check_subjects(np.array(["a"]), 2, "real")
