"""Stage ``sample@GEN-SOURCE``: one image for each mask of a source."""

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from cmr.store import SliceStore
from mlops.settings import section
from models.checkpoint import load_network
from models.config import SamplingSettings
from models.data import one_hot
from models.device import pick_device
from models.registry import generator_class
from pipelines.sampling import image_seeds, run_key
from pipelines.stage import run, say


def main(generator: str, source: str) -> None:
    conditions, folder = SliceStore.open(f"data/masks/{source}"), Path("runs") / generator
    settings, device = section(f"{generator}.sampling", SamplingSettings), pick_device()
    network = load_network(folder, generator_class(generator), device)
    seeds = image_seeds(section("seed", int), source, len(conditions))
    images = np.empty(conditions.masks.shape, np.float16)
    for start in tqdm(range(0, len(seeds), settings.batch), desc=f"sample {generator} {source}", unit="batch"):
        rows = slice(start, start + settings.batch)
        masks = one_hot(torch.from_numpy(np.array(conditions.masks[rows]))).to(device)
        drawn = network.sample(masks, seeds[rows], sampler=settings.sampler, steps=settings.steps, precision=settings.precision)
        images[rows] = drawn[:, 0].float().cpu().numpy()
    index = conditions.index.assign(
        generator=generator,
        model=run_key(folder),
        seed=seeds,
        sampler=settings.sampler,
        steps=settings.steps,
        mask_source=source,
    )
    SliceStore.write(f"data/sets/{generator}-{source}", index, np.asarray(conditions.masks), images)
    say(f"sample {generator}-{source}: {len(images)} images, {settings.sampler} with {settings.steps} steps")


if __name__ == "__main__":
    run(main)
