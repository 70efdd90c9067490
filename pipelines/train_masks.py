"""Stage ``train_masks``: the mask model on the training masks of the cohort."""

from pathlib import Path

import numpy as np
import torch

from cmr.store import SliceStore
from mlops.release import DRAWN
from mlops.settings import load_params, mask_config, section
from models.base import MaskGenerator
from models.config import AugmentSettings, MaskSamplingSettings, TrainSettings
from models.data import SliceBatches, one_hot
from models.registry import mask_model
from models.validation import held_loss
from pipelines.pictures import save_masks
from pipelines.stage import run
from pipelines.training import Job, train_stage

_SCORED_MASKS = 64
_PICTURED = 16


def main() -> None:
    train_stage("pipelines.train_masks")


def job() -> Job:
    training, validation = SliceStore.open("data/cohort/train"), SliceStore.open("data/cohort/val")
    settings, augment, seed = section("masks.train", TrainSettings), section("augment", AugmentSettings), section("seed", int)
    sampling = section("masks.sampling", MaskSamplingSettings)
    held = one_hot(torch.from_numpy(np.array(_spread(validation, _SCORED_MASKS).masks)))

    def validate(network: MaskGenerator) -> float:
        """Minus the denoising loss on fixed validation masks, times and noises."""
        return -held_loss(network, held, seed, settings)

    def pictures(network: MaskGenerator, folder: Path) -> None:
        seeds = [seed + k for k in range(_PICTURED)]
        drawn = network.sample(
            training.size, seeds, sampler=sampling.sampler, steps=sampling.steps, precision=sampling.precision
        )
        save_masks(drawn.cpu().numpy(), folder / DRAWN)

    return Job(
        name="masks",
        kind="masks",
        build=mask_model,
        config=mask_config(load_params()),
        train=settings,
        batches=SliceBatches(None, training.masks, batch=settings.batch, augment=augment, seed=seed),
        stores={"data/cohort/train": training, "data/cohort/val": validation},
        params={"augment": vars(augment)},
        seed=seed,
        loss=lambda network: lambda _, masks, randoms: network.loss(masks, randoms),
        validate=validate,
        pictures=pictures,
    )


def _spread(store: SliceStore, count: int) -> SliceStore:
    return store.select(np.unique(np.linspace(0, len(store) - 1, count).astype(int)))


if __name__ == "__main__":
    run(main)
