"""Small networks of the real architectures."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch

from models.config import ScheduleSettings, TrainSettings
from models.data import step_randoms
from models.ddpm import DDPMNetwork
from models.distances import DistanceNetwork
from models.one_hot import MaskNetwork

SETTINGS = {
    "epochs": 3,
    "max_steps": None,
    "batch": 4,
    "micro_batch": None,
    "optimiser": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 1e-2,
    "schedule": "cosine",
    "warmup_steps": 2,
    "gradient_clip": 1.0,
    "ema": 0.99,
    "precision": "float32",
    "validations": 2,
    "keep": "best",
    "checkpoint_seconds": 0.0,
}


DISTANCES = DistanceNetwork("distances", (8, 16), 1, (False, True), 8, 4, 8, 2, 0.125, 1000)
LINEAR = ScheduleSettings(1000, "linear", 1e-4, 0.02, "epsilon")


def randoms(count: int, seed: int = 0) -> list[torch.Generator]:
    """One source of random numbers an image."""
    return step_randoms(seed, 0, count)


def ancestral_moments(
    levels: Sequence[float], start: tuple[float, float], mean: float, deviation: float
) -> list[tuple[float, float]]:
    """Mean and standard deviation at each falling noise level, and at the end, of what an ancestral sampler draws.

    The data are independent Gaussian pixels and each prediction is the best one. A step keeps the share (next / level)² of x,
    takes the rest from the prediction and adds fresh noise for it; the spread of the data that a prediction lacks is not
    added, so few steps draw too little of it.

    Args:
        start: mean and standard deviation at the first level, of pictures scaled to 1.
    """
    found = [start]
    for level, following in pairwise([*levels, 0.0]):
        kept = (following / level) ** 2
        slope = deviation**2 / (deviation**2 + level**2)  # of the prediction in x
        factor = kept + (1 - kept) * slope
        middle, spread = found[-1]
        fresh = following**2 * (1 - kept)
        found.append((factor * middle + (1 - kept) * (1 - slope) * mean, math.sqrt((factor * spread) ** 2 + fresh)))
    return found


@pytest.fixture
def train_settings():
    def make(**changes) -> TrainSettings:
        return TrainSettings(**{**SETTINGS, **changes})

    return make


@pytest.fixture
def ddpm_network() -> DDPMNetwork:
    return DDPMNetwork((8, 16), 1, (False, True), 8, 4, LINEAR)


@pytest.fixture
def mask_network() -> MaskNetwork:
    return MaskNetwork("one_hot", (8, 16), 1, (False, True), 8, 4, LINEAR)
