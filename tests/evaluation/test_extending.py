"""A new metric is one file and one line: docs/extending.md, "A new metric"."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluation.fidelity.paired import PAIRED, paired_figures
from evaluation.statistics import IntervalSettings
from tests.evaluation.hearts import hearts

PAGE = Path(__file__).parents[2] / "docs/extending.md"


@pytest.fixture
def mae(tmp_path, monkeypatch):
    """The page's metric, in a file of its own."""
    section = PAGE.read_text().partition("## A new metric")[2].partition("\n## ")[0]
    (tmp_path / "page_metric.py").write_text(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1])
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("page_metric").mae
    del sys.modules["page_metric"]


def test_a_registered_metric_appears_in_the_figures(mae, monkeypatch):
    monkeypatch.setitem(PAIRED, "mae", mae)
    masks = hearts(4, seed=0)
    real = np.array([-0.8, 0.8, -0.3, 0.6])[masks]
    figures = paired_figures(
        real,
        real + 0.1,
        masks=masks,
        subjects=np.array(["a", "a", "b", "b"]),
        intervals=IntervalSettings(bootstrap=50, permutations=1, confidence=0.95),
        seed=0,
    )
    assert figures["mae"].value == pytest.approx(0.05, abs=1e-6)
    assert figures["mae"].ci_low == pytest.approx(0.05, abs=1e-6)
    assert figures["floor"]["mae"].value > 0
