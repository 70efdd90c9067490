"""The states that are kept of one image on its way from noise, and what drawing cost."""

import json

import numpy as np
import torch

from pipelines.drawing import TIMES, Strip
from pipelines.sample import _first_whole
from pipelines.sampling import write_speed


def test_the_state_nearest_to_each_time_is_kept_and_no_other_is_computed():
    strip, computed = Strip(), []

    def state(value: float):
        def compute():
            computed.append(value)
            return torch.full((3, 1, 2, 2), value)

        return compute

    watch = strip.of(1)
    for step in range(1001):
        watch(step / 1000, state(1 - step / 1000))
    states = strip.states()
    assert states.shape == (6, 2, 2)
    assert np.allclose(states[:, 0, 0] * 1000, TIMES, atol=1)
    assert len(computed) <= 1001


def test_few_steps_repeat_the_nearest_state():
    strip = Strip()
    for done, value in ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0)):
        strip.of(0)(done, lambda value=value: torch.full((1, 1, 2, 2), value))
    assert strip.states()[:, 0, 0].tolist() == [1.0, 1.0, 0.5, 0.5, 0.0, 0.0]


def test_the_image_shown_has_all_structures_where_one_has():
    masks = np.zeros((4, 8, 8), np.uint8)
    assert _first_whole(masks) == 0
    masks[2, 0, :4] = [0, 1, 2, 3]
    assert _first_whole(masks) == 2


def test_the_time_that_drawing_took_lies_beside_the_set_and_not_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_speed("ddpm", "full", 30.0, 120, "ab12")
    content = json.loads((tmp_path / "reports/figures/sampling-ddpm-full.json").read_text())
    assert (content["run"], content["run_key"]) == ("ddpm", "ab12")
    assert content["figures"]["full"]["seconds_per_image"] == {"value": 0.25, "ci_low": None, "ci_high": None, "n": 120}
