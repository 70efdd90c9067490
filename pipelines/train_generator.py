"""Stage ``train@GEN``: one generator of images on the cohort's training slices.

The checkpoint kept is the one whose images follow their masks best, as a segmenter trained on real scans reads them.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cmr.store import SliceStore
from evaluation.adherence import mask_adherence
from mlops.settings import GeneratorsSettings, generator_config, load_params, section
from models.base import Generator
from models.checkpoint import load_network
from models.config import AugmentSettings, CheckSettings, GeneratorTrainSettings, TrainSettings
from models.data import Randoms, SliceBatches, one_hot, step_randoms
from models.device import pick_device
from models.guidance import drop_masks
from models.registry import generator_class
from models.segmenter import Segmenter, predict
from models.train import Loss
from models.validation import drawn_images
from pipelines.pictures import save_drawn
from pipelines.sampling import image_seeds, run_key
from pipelines.stage import run
from pipelines.training import Job, train_stage

BEFORE_TRAINING = 1 << 31
"""Number of the first step whose random numbers no training draws."""


def main(name: str) -> None:
    train_stage("pipelines.train_generator", name)


def job(name: str) -> Job:
    training, validation = SliceStore.open("data/cohort/train"), SliceStore.open("data/cohort/val")
    settings, augment = section(f"{name}.train", GeneratorTrainSettings), section("augment", AugmentSettings)
    seed, count, how = section("seed", int), section("validation.images", int), section(f"{name}.validation", CheckSettings)
    reads = Path(f"runs/segmenter/{section('generators', GeneratorsSettings).train_on[0]}-real")
    config = generator_config(load_params(), name)
    reader = load_network(reads, Segmenter, pick_device())
    check = _AdherenceCheck(heart_rich(validation, count), how, settings, reader, seed)

    return Job(
        name=name,
        kind="generator",
        build=lambda config: build(name, config, training),
        config=config,
        train=settings,
        batches=SliceBatches(training.images, training.masks, batch=settings.batch, augment=augment, seed=seed),
        stores={"data/cohort/train": training, "data/cohort/val": validation},
        params={
            "augment": vars(augment),
            "validation": {"images": count, **vars(how)},
            "segmenter": run_key(reads),
            **stands_on(name, config),
        },
        seed=seed,
        loss=lambda network: loss_of(network, settings),
        validate=check.score,
        picture=check.picture,
    )


def build(name: str, config: Any, training: SliceStore) -> Generator:
    """The generator before its training: with its trained autoencoder, if it draws latents, and with its linear denoiser fitted
    to augmented training slices, if it has one."""
    network: Generator = generator_class(name)(config)
    if (trained := getattr(config, "autoencoder", None)) is not None:
        images = torch.from_numpy(np.array(training.images, np.float32))[:, None]
        network.adopt(_autoencoder(_folder(name), trained), images)
    if (gaussian := getattr(config, "gaussian", None)) is not None:
        network.fit_gaussian(*augmented(training, gaussian.slices, section("augment", AugmentSettings), section("seed", int)))
    return network


def augmented(training: SliceStore, count: int, augment: AugmentSettings, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``count`` augmented slices (N, 1, S, S) and their one-hot masks; every training slice is drawn about equally often."""
    batches = SliceBatches(training.images, training.masks, batch=64, augment=augment, seed=seed)
    steps = range(math.ceil(count / batches.batch))
    drawn = [batches(step, step_randoms(seed, BEFORE_TRAINING + step, batches.batch)) for step in steps]
    images = torch.cat([images for images, _ in drawn if images is not None])
    return images[:count], torch.cat([masks for _, masks in drawn])[:count]


def loss_of(network: Generator, settings: GeneratorTrainSettings) -> Loss:
    """The generator's loss as the training loop wants it."""

    def loss(images: torch.Tensor | None, masks: torch.Tensor, randoms: Randoms) -> torch.Tensor:
        assert images is not None  # the slices of a generator always have them
        return network.loss(images, drop_masks(masks, settings.mask_drop, randoms), randoms)

    return loss


def stands_on(name: str, config: Any) -> dict[str, str]:
    """The key of the trained autoencoder that the generator stands on, if it is one of latents."""
    return {"autoencoder": run_key(_folder(name))} if getattr(config, "autoencoder", None) is not None else {}


def _folder(name: str) -> Path:
    return Path("runs/autoencoder") / name


class _AdherenceCheck:
    """Mask adherence on a few fixed validation masks, and the grid of the drawn images that it was read from."""

    def __init__(self, chosen: SliceStore, how: CheckSettings, settings: TrainSettings, reader: Segmenter, seed: int):
        self._chosen, self._how, self._settings, self._reader = chosen, how, settings, reader
        self._masks = one_hot(torch.from_numpy(np.array(chosen.masks)))
        self._seeds = image_seeds(seed, "validation", len(chosen))
        self._drawn: NDArray[np.float32] = np.empty(0, np.float32)

    def score(self, network: Generator) -> float:
        self._drawn = drawn_images(network, self._masks, self._seeds, self._how, self._settings)[:, 0].numpy()
        read = predict(self._reader, self._drawn, batch=self._settings.micro_batch or 64, precision=self._settings.precision)
        return float(mask_adherence(read, self._chosen.masks).mean())

    def picture(self, path: Path) -> None:
        """The images that were scored last."""
        save_drawn(self._drawn, path)


def _autoencoder(folder: Path, config: Any) -> Any:
    from models.vqvae import VQVAE

    return load_network(folder, VQVAE, torch.device("cpu"), expected=config)


def heart_rich(store: SliceStore, count: int) -> SliceStore:
    """Slices spread over the patients, of those that show all three structures (adherence of an empty mask says nothing)."""
    whole = np.flatnonzero([len(np.unique(mask)) == 4 for mask in store.masks])
    rows = whole if len(whole) else np.arange(len(store))
    return store.select(rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))])


if __name__ == "__main__":
    run(main)
