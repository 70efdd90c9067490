import sys

import numpy as np
import pytest

from benchmarks import neighbours


def test_it_checks_times_and_prints(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["neighbours", "--images", "30", "--size", "16", "--sample", "10", "--repeats", "2"])
    monkeypatch.setattr(
        neighbours, "lpips_rows", lambda *_: [("LPIPS, naive", [60.0, 80.0], ""), ("LPIPS, ours", [2.0, 2.0], "")]
    )
    neighbours.main()
    printed = capsys.readouterr().out
    assert "L2: both ways agree" in printed
    assert "extrapolated from 10 pairs" in printed
    assert "35 × (30 – 40)" in printed


def test_ways_that_differ_are_not_timed():
    with pytest.raises(SystemExit, match=r"differ by 0\.1"):
        neighbours.check("L2", np.array([1.0, 2.0]), np.array([1.0, 2.1]), 1e-3)
    with pytest.raises(SystemExit):
        neighbours.check("L2", np.array([np.nan]), np.array([1.0]), 1e-3)
