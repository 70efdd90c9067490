"""Stage ``sample_masks``: as many synthetic masks as training masks, the invalid ones drawn again if that is asked for."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from cmr.store import SliceStore
from evaluation.validity import check_anatomy
from mlops.settings import section
from models.base import MaskGenerator
from models.checkpoint import load_network
from models.config import MaskSamplingSettings
from models.device import memory_advice, pick_device
from models.masks import MaskDDPM
from pipelines.sampling import image_seeds, run_key, write_speed
from pipelines.stage import run, say


def main() -> None:
    real, folder = SliceStore.open("data/cohort/train"), Path("runs/masks")
    settings, seed = section("masks.sampling", MaskSamplingSettings), section("seed", int)
    network = load_network(folder, MaskDDPM, pick_device())
    clock = time.monotonic()
    masks, drawn = _draw_valid(network, len(real), real.size, settings, seed)
    write_speed("masks", "full", time.monotonic() - clock, len(masks), run_key(folder))
    SliceStore.write("data/masks/full", _index(real, drawn, run_key(folder), settings), masks)
    again, invalid = int((drawn["attempts"] > 1).sum()), int((~drawn["valid"]).sum())
    say(f"sample_masks: {len(masks)} masks, {settings.steps} steps each; {again} drawn again, {invalid} anatomically not valid")


def _draw_valid(
    network: MaskGenerator, count: int, size: int, settings: MaskSamplingSettings, seed: int
) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    """Masks (count, size, size), and of each its seed, how many draws it took and whether it is valid in the end."""
    seeds = image_seeds(seed, "full", count)
    masks = _draw(network, size, seeds, settings)
    drawn = pd.DataFrame({"seed": seeds, "attempts": 1, "valid": check_anatomy(masks)["valid"]})
    for attempt in range(2, settings.attempts + 1):
        rows = np.flatnonzero(~drawn["valid"])
        if not len(rows):
            break
        others = image_seeds(seed, f"full, attempt {attempt}", count)
        fresh = [others[row] for row in rows]
        masks[rows] = _draw(network, size, fresh, settings)
        drawn.loc[rows, "seed"], drawn.loc[rows, "attempts"] = fresh, attempt
        drawn.loc[rows, "valid"] = check_anatomy(masks[rows])["valid"].to_numpy()
    return masks, drawn


def _draw(network: MaskGenerator, size: int, seeds: list[int], settings: MaskSamplingSettings) -> NDArray[np.uint8]:
    labels = []
    how: dict[str, Any] = {"sampler": settings.sampler, "steps": settings.steps, "precision": settings.precision}
    for start in tqdm(range(0, len(seeds), settings.micro_batch), desc="sample masks", unit="batch"):
        with memory_advice("masks.sampling.micro_batch", settings.micro_batch):
            labels.append(network.sample(size, seeds[start : start + settings.micro_batch], **how).cpu().numpy())
    return np.concatenate(labels)


def _index(real: SliceStore, drawn: pd.DataFrame, model: str, settings: MaskSamplingSettings) -> pd.DataFrame:
    pixel = real.index[["row_mm", "column_mm"]].iloc[0]
    return pd.DataFrame(
        {
            "subject": [f"synthetic-{number:05d}" for number in range(len(drawn))],
            "dataset": "synthetic",
            "split": "train",
            "vendor": "synthetic",
            "row_mm": float(pixel["row_mm"]),
            "column_mm": float(pixel["column_mm"]),
            "labelled": True,
            "generator": "masks",
            "model": model,
            "sampler": settings.sampler,
            "steps": settings.steps,
            "mask_source": "full",
        }
    ).join(drawn)


if __name__ == "__main__":
    run(main)
