import numpy as np
import pytest

from cmr.errors import DataError
from cmr.labels import LV, MYO, RV
from evaluation.shapes import measure_shapes, roundness

Y, X = np.mgrid[:96, :96] - 48.0


def shapes_of(region, label=LV):
    return measure_shapes(np.where(region, label, 0).astype(np.uint8)[None]).iloc[0]


def test_disc():
    disc = shapes_of(X**2 + Y**2 <= 20**2)
    assert disc["area"] == pytest.approx(np.pi * 400, rel=0.01)
    assert disc["pixel_share"] == pytest.approx(100 * disc["area"] / 96**2)
    assert 0.88 < disc["roundness"] <= 1  # the perimeter of pixels is some 5 % too long
    assert disc["eccentricity"] == pytest.approx(0, abs=1e-6)
    assert disc["solidity"] > 0.95


def test_square():
    square = shapes_of((abs(X) <= 10) & (abs(Y) <= 10))
    assert square["area"] == 441
    assert square["solidity"] == 1
    assert square["roundness"] == pytest.approx(np.pi / 4, rel=0.12)


def test_ellipse():
    ellipse = shapes_of((X / 30) ** 2 + (Y / 18) ** 2 <= 1)
    assert ellipse["eccentricity"] == pytest.approx(0.8, abs=0.005)


def test_ring_is_neither_round_nor_solid():
    ring = shapes_of((X**2 + Y**2 <= 24**2) & (X**2 + Y**2 > 18**2), MYO)
    assert ring["solidity"] == pytest.approx(1 - (18 / 24) ** 2, abs=0.03)
    assert ring["roundness"] == pytest.approx((24 - 18) / (24 + 18), abs=0.02)


def test_share_counts_all_pieces_and_area_the_largest():
    pieces = (abs(X) <= 5) & (abs(Y) <= 5)
    pieces[:2, :2] = True
    found = shapes_of(pieces, RV)
    assert found["area"] == 121
    assert found["pixel_share"] == pytest.approx(100 * 125 / 96**2)


def test_absent_structures_have_no_row():
    masks = np.zeros((2, 16, 16), dtype=np.uint8)
    masks[1, 4:8, 4:8] = RV
    assert measure_shapes(masks)[["mask", "structure"]].to_numpy().tolist() == [[1, "RV"]]


def test_a_single_pixel_is_round():
    assert roundness(1, 0) == 1
    assert roundness(5, 4) == 1


def test_unknown_label_is_an_error():
    with pytest.raises(DataError, match="expected 0 to 3"):
        measure_shapes(np.full((1, 8, 8), 4, dtype=np.uint8))
