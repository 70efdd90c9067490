"""What the sampling stages share."""

import json
import zlib
from pathlib import Path

import numpy as np

from cmr.store import SliceStore
from evaluation.figure import Figure
from pipelines.stage import write_figures


def image_seeds(seed: int, source: str, count: int) -> list[int]:
    """One seed an image: the n-th image of a source has the same seed however many are drawn."""
    spawned = np.random.SeedSequence([seed, zlib.crc32(source.encode())]).generate_state(count, np.uint64)
    return [int(value >> np.uint64(1)) for value in spawned]  # 63 bits: fits a signed column


def run_key(folder: Path) -> str:
    """The key of the trained network in ``folder``."""
    return json.loads((folder / "run.json").read_text())["run_key"]


def write_speed(network: str, source: str, seconds: float, count: int, key: str) -> None:
    """Writes what drawing cost to a figures file of its own: the drawn set stays the same, byte for byte, when drawn again.

    Args:
        seconds: spent on drawing ``count`` images or masks.
        key: run key of the network.
    """
    speed = {"seconds_per_image": Figure(seconds / count, n=count).to_json()}
    write_figures(f"sampling-{network}-{source}", network, {source: speed}, run_key=key)


def model_of(store: SliceStore) -> str:
    """The run key of the network that drew a synthetic store."""
    return str(store.index["model"].iloc[0])
