"""What holds for every test."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session", autouse=True)
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Signing and house keys of the tests, so that the user's own are neither used nor made; processes that they start too."""
    folder = tmp_path_factory.mktemp("keys")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNCMRI_KEYS", str(folder))
        patch.delenv("SYNCMRI_INHOUSE", raising=False)
        yield folder


@pytest.fixture(autouse=True)
def same_draws():
    """A test draws the same weights and numbers alone, after others and on another day: what fails can be seen again."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):  # its import takes a second, which many tests do without
        torch.manual_seed(0)
