"""The ratios of benchmarks/scaling.py, and that docs/scaling.md shows what it measured last."""

import json
from pathlib import Path

from benchmarks import page
from benchmarks.scaling import SCALING, ratios, table

ROOT = Path(__file__).parents[2]


def test_ratios_are_of_neighbouring_timings() -> None:
    found = ratios({"no cluster": [10.0, 20.0, 10.0], "1 worker": [12.0, 24.0, 15.0], "2 workers": [6.0, 12.0, 10.0]})
    assert found["cost_of_ray"] == {"median": 1.2, "least": 1.2, "most": 1.5}
    assert found["speed_up"] == {"median": 2.0, "least": 1.5, "most": 2.0}
    assert found["efficiency"] == {"median": 1.0, "least": 0.75, "most": 1.0}


def test_the_page_shows_what_was_measured() -> None:
    measured = json.loads((ROOT / SCALING).read_text())
    assert page.shown(page.SCALING, "scaling.py", ROOT) == table(measured["stages"])
