"""What holds for every test."""

import random
import sys

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def same_draws():
    """A test draws the same weights and numbers alone, after others and on another day: what fails can be seen again."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):  # its import takes a second, which many tests do without
        torch.manual_seed(0)
