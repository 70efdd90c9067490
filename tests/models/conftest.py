"""Small networks of the real architectures."""

import pytest

from models.config import TrainSettings
from models.ddpm import DDPMNetwork
from models.masks import MaskNetwork

SETTINGS = {
    "epochs": 3,
    "max_steps": None,
    "batch": 4,
    "optimiser": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 1e-2,
    "schedule": "cosine",
    "warmup_steps": 2,
    "gradient_clip": 1.0,
    "ema": 0.99,
    "precision": "float32",
    "validations": 2,
    "checkpoint_seconds": 0.0,
}


@pytest.fixture
def train_settings():
    def make(**changes) -> TrainSettings:
        return TrainSettings(**{**SETTINGS, **changes})

    return make


@pytest.fixture
def ddpm_network() -> DDPMNetwork:
    return DDPMNetwork((8, 16), 1, (False, True), 8, 4, 1000, "linear", "epsilon")


@pytest.fixture
def mask_network() -> MaskNetwork:
    return MaskNetwork((8, 16), 1, (False, True), 8, 4, 1000, "linear", "epsilon")
