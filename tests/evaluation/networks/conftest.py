from collections.abc import Callable

import numpy as np
import pytest

from cmr.errors import DataError
from evaluation.networks.weights import obtain
from models import torchvision_shim

torchvision_shim.apply()  # the tests import lpips and torch-fidelity themselves


@pytest.fixture(scope="session")
def needs_weights() -> Callable[[str], None]:
    """Skips the test where the true weights are neither cached nor to be had."""

    def check(name: str) -> None:
        try:
            obtain(name)
        except DataError as error:
            pytest.skip(str(error))

    return check


@pytest.fixture(scope="session")
def pictures():
    """(3, 48, 64) in [-1, 1], from formulas."""
    y, x = np.mgrid[:48, :64] / 8
    waves = [np.sin(x) * np.cos(y), np.sin(x * y / 3), np.cos(2 * np.hypot(x - 4, y - 3))]
    return np.stack(waves).astype(np.float32)
