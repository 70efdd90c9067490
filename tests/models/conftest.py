"""Small networks of the real architectures."""

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
