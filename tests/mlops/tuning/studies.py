"""A search space for tests, written into a project's params.yaml."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from mlops.settings import load_params

SPACE: dict[str, Any] = {
    "train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "train.ema": {"choices": [None, 0.9, 0.99]},
}


def set_search(root: Path, network: str, **settings: Any) -> None:
    """Changes the block ``search`` of a network."""
    params = load_params(root)
    params[network]["search"] |= settings
    with (root / "params.yaml").open("w") as file:
        YAML().dump(params, file)
