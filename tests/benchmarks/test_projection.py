"""The model of docs/scaling.md, where its answer is known, and that the page shows what it says today."""

import json
from pathlib import Path

import pytest

from benchmarks import page, projection
from benchmarks.projection import BANDWIDTH, BUCKET, LATENCY, Network, Phase, Training
from benchmarks.steps import STEPS
from mlops.profiles import merged
from mlops.sizes import network_costs

ROOT = Path(__file__).parents[2]
SLOW_TO_EXCHANGE = Network(fixed=0.0, per_slice=0.01, least=0.0, gradients=1e12, sampling=0.0)
IDEAL = Network(fixed=0.0, per_slice=0.01, least=0.0, gradients=0.0, sampling=0.0)


def test_the_exchange_follows_its_formula() -> None:
    network = Network(fixed=0.0, per_slice=0.0, least=0.0, gradients=4 * BUCKET, sampling=0.0)
    assert network.exchange(1) == 0
    assert network.exchange(2) == pytest.approx(4 * BUCKET / BANDWIDTH + 2 * LATENCY * 4)
    assert network.exchange(8) == pytest.approx(14 / 8 * 4 * BUCKET / BANDWIDTH + 14 * LATENCY * 4)


def test_a_step_is_shared_as_far_as_there_are_slices() -> None:
    assert IDEAL.step(8, 8) == pytest.approx(IDEAL.step(8, 1) / 8)
    assert IDEAL.step(8, 3) == pytest.approx(0.03)  # the fullest worker has three of the eight
    assert SLOW_TO_EXCHANGE.step(8, 2) > SLOW_TO_EXCHANGE.step(8, 1)
    assert Network(0.0, 0.01, least=0.05, gradients=0.0, sampling=0.0).step(8, 8) == 0.05


def test_drawing_is_shared_by_any_number_of_gpus() -> None:
    assert Phase("draw", [], drawing=640.0).seconds(64) == (10.0, 1)


def test_a_phase_gives_workers_to_the_longest_while_that_helps() -> None:
    training = Training(IDEAL, steps=100, batch=8)
    assert Phase("one", [training]).seconds(1) == (pytest.approx(8.0), 1)
    assert Phase("one", [training]).seconds(64) == (pytest.approx(1.0), 8)
    assert Phase("eight", [training] * 8).seconds(8) == (pytest.approx(8.0), 1)
    assert Phase("one", [Training(SLOW_TO_EXCHANGE, steps=100, batch=8)]).seconds(64) == (pytest.approx(8.0), 1)


@pytest.mark.slow
def test_the_page_shows_the_profile_and_the_timings_as_they_are() -> None:
    measured = json.loads((ROOT / STEPS).read_text())
    costs = network_costs(merged(ROOT, measured["profile"]))
    stale = [name for name, cost in costs.items() if measured["networks"].get(name, {}).get("macs") != cost.macs]
    assert stale == [], "these networks were changed: run `python -m benchmarks.steps`"
    told = "run `python -m benchmarks.projection --write`"
    assert page.shown(page.SCALING, "projection.py", ROOT) == projection.tables(ROOT), told
