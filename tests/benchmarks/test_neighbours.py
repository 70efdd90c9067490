"""The benchmark of the neighbour search runs on few images and records what it should; tests/evaluation holds the equality."""

import numpy as np
import pytest

from benchmarks import harness, neighbours


@pytest.fixture
def kept(monkeypatch):
    rows: list[harness.Result] = []
    monkeypatch.setattr(harness, "SEEN", rows)
    return rows


def test_l2_is_checked_timed_and_extrapolated(kept):
    rng = np.random.default_rng(0)
    queries, reference = rng.uniform(-1, 1, (2, 30, 16, 16)).astype(np.float32)
    neighbours.l2(queries, reference, rng.integers(30, size=(2, 10)), 2)
    (row,) = kept
    assert row.extrapolated
    assert "both ways agree" in row.work
    assert "30 × 30 slices of 16 px" in row.work


@pytest.mark.skipif(not neighbours.STATUS.is_file(), reason="no /proc")
def test_the_peak_is_what_was_held_at_once():
    def work() -> None:
        block = np.ones(25_000_000)
        for _ in range(10):
            block += 1

    told = float(neighbours.peak(work).removesuffix(" MB"))
    assert 190 <= told <= 260
