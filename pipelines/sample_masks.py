"""Stage ``sample_masks``: as many synthetic masks as there are training masks."""

from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from cmr.store import SliceStore
from mlops.settings import section
from models.checkpoint import load_network
from models.config import SamplingSettings
from models.device import pick_device
from models.masks import MaskDDPM
from pipelines.sampling import image_seeds, run_key
from pipelines.stage import run, say


def main() -> None:
    real, folder = SliceStore.open("data/cohort/train"), Path("runs/masks")
    settings = section("masks.sampling", SamplingSettings)
    network = load_network(folder, MaskDDPM, pick_device())
    seeds = image_seeds(section("seed", int), "full", len(real))
    labels = []
    for start in tqdm(range(0, len(seeds), settings.batch), desc="sample masks", unit="batch"):
        batch = seeds[start : start + settings.batch]
        labels.append(
            network.sample(real.size, batch, sampler=settings.sampler, steps=settings.steps, precision=settings.precision).cpu()
        )
    masks = torch.cat(labels).numpy()
    SliceStore.write("data/masks/full", _index(real, seeds, run_key(folder), settings), masks)
    empty = int((masks == 0).all(axis=(1, 2)).sum())
    say(f"sample_masks: {len(masks)} masks, {settings.steps} steps each, {empty} of them empty")


def _index(real: SliceStore, seeds: list[int], model: str, settings: SamplingSettings) -> pd.DataFrame:
    pixel = real.index[["row_mm", "column_mm"]].iloc[0]
    return pd.DataFrame(
        {
            "subject": [f"synthetic-{number:05d}" for number in range(len(seeds))],
            "dataset": "synthetic",
            "split": "train",
            "vendor": "synthetic",
            "row_mm": float(pixel["row_mm"]),
            "column_mm": float(pixel["column_mm"]),
            "labelled": True,
            "generator": "masks",
            "model": model,
            "seed": seeds,
            "sampler": settings.sampler,
            "steps": settings.steps,
            "mask_source": "full",
        }
    )


if __name__ == "__main__":
    run(main)
