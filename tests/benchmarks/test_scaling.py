"""The ratios of benchmarks/scaling.py."""

from benchmarks.scaling import ratios


def test_ratios_are_of_neighbouring_timings() -> None:
    found = ratios({"no cluster": [10.0, 20.0, 10.0], "1 worker": [12.0, 24.0, 15.0], "2 workers": [6.0, 12.0, 10.0]})
    assert found["cost_of_ray"] == {"median": 1.2, "least": 1.2, "most": 1.5}
    assert found["speed_up"] == {"median": 2.0, "least": 1.5, "most": 2.0}
    assert found["efficiency"] == {"median": 1.0, "least": 0.75, "most": 1.0}
