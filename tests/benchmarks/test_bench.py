"""The comparison of `make bench` with its baseline, and that every script has its place there."""

from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.__main__ import SCRIPTS, change
from benchmarks.harness import RESULTS, markdown, read

ROOT = Path(__file__).parents[2]
PARTS = {"harness", "page", "stages", "yardstick", "__main__", "__init__"}
APART = {
    "scaling",
    "steps",
    "projection",
    "paper_scale",
    "quality",
}  # outputs of their own: docs/scaling.md, results.md, quality.md


def row(ratio: float, low: float, high: float) -> dict:
    return {"ratio": ratio, "quartiles": [low, high]}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (row(10.5, 9, 11), ""),
        (row(9, 8.5, 9.5), ""),  # less by a tenth
        (row(5, 4, 9.9), "slower"),
        (row(5, 4, 10.1), ""),  # quartiles that touch
        (row(14, 13, 15), "faster"),
    ],
)
def test_a_change_is_told_where_spreads_part(now: dict, said: str) -> None:
    assert change(now, row(11, 10, 12)) == said


def test_every_script_is_run_or_stands_apart() -> None:
    there = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert set(SCRIPTS) <= there
    assert there == set(SCRIPTS) | (there & (PARTS | APART))


def test_the_page_shows_what_was_measured() -> None:
    rows = read(ROOT / RESULTS)
    assert rows, "no results are stored"
    assert page.shown(page.PERFORMANCE, "harness.py", ROOT) == markdown(rows)
    assert all(row["reason"] for row in rows if row["ratio"] < row["goal"])
