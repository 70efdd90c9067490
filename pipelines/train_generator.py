"""Stage ``train@GEN``: one generator of images on the cohort's training slices.

The checkpoint kept is the one whose images follow their masks best, as a segmenter trained on real scans reads them.
"""

from pathlib import Path

import numpy as np
import torch

from cmr.store import SliceStore
from evaluation.adherence import mask_adherence
from mlops.settings import GeneratorsSettings, section
from models.base import Generator
from models.checkpoint import load_network
from models.config import AugmentSettings, TrainSettings, ValidationSettings
from models.data import SliceBatches, one_hot
from models.device import pick_device
from models.registry import generator_class
from models.segmenter import Segmenter, predict
from pipelines.pictures import save_pairs
from pipelines.sampling import image_seeds, run_key
from pipelines.stage import run
from pipelines.training import Job, train_job


def main(name: str) -> None:
    training, validation = SliceStore.open("data/cohort/train"), SliceStore.open("data/cohort/val")
    kind = generator_class(name)
    settings, augment, seed = section(f"{name}.train", TrainSettings), section("augment", AugmentSettings), section("seed", int)
    how = section("validation", ValidationSettings)
    chosen = _heart_rich(validation, how.images)
    device = pick_device()
    masks = one_hot(torch.from_numpy(np.array(chosen.masks))).to(device)
    seeds = image_seeds(seed, "validation", len(chosen))
    dataset = section("generators", GeneratorsSettings).train_on[0]
    reads = Path(f"runs/segmenter/{dataset}-real")
    reader = load_network(reads, Segmenter, device)

    def draw(network: Generator) -> np.ndarray:
        return network.sample(masks, seeds, sampler=how.sampler, steps=how.steps, precision="auto")[:, 0].float().cpu().numpy()

    def validate(network: Generator) -> float:
        return float(mask_adherence(predict(reader, draw(network), batch=64), chosen.masks).mean())

    def pictures(network: Generator, folder: Path) -> None:
        save_pairs(chosen.masks, np.asarray(chosen.images), draw(network), folder / "samples.png")

    train_job(
        Job(
            name=name,
            kind="generator",
            build=kind,
            config=section(f"{name}.network", kind.Config),
            train=settings,
            batches=SliceBatches(training.images, training.masks, batch=settings.batch, augment=augment, seed=seed),
            stores={"data/cohort/train": training, "data/cohort/val": validation},
            params={"augment": vars(augment), "validation": vars(how), "segmenter": run_key(reads)},
            seed=seed,
            loss=lambda network: network.loss,
            validate=validate,
            pictures=pictures,
        )
    )


def _heart_rich(store: SliceStore, count: int) -> SliceStore:
    """Slices spread over the patients, of those that show all three structures (adherence of an empty mask says nothing)."""
    whole = np.flatnonzero([len(np.unique(mask)) == 4 for mask in store.masks])
    rows = whole if len(whole) else np.arange(len(store))
    return store.select(rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))])


if __name__ == "__main__":
    run(main)
