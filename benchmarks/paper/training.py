"""Stages of `benchmarks/paper_scale.py` that train, by the project's own loop."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.paper.work import Work
from evaluation.adherence import mask_adherence
from models.checkpoint import save_network
from models.config import AugmentSettings, CheckSettings, GeneratorTrainSettings, TrainSettings
from models.cost import measure
from models.data import Randoms, SliceBatches, one_hot, step_randoms, step_seed
from models.device import autocast
from models.guidance import drop_masks
from models.registry import generator_class, mask_model, mask_model_class
from models.segmenter import Segmenter, predict
from models.train import Entry, Loss, train
from models.validation import drawn_images, held_loss, reconstructed
from models.vqvae import VQVAE, AutoencoderSettings

SCORED_MASKS = 64
READ_AT_ONCE = 64


def _trained(
    work: Work,
    name: str,
    network: nn.Module,
    config: Any,
    loss: Loss,
    batches: SliceBatches,
    settings: TrainSettings,
    validate: Callable[[Any], float] | None,
) -> dict[str, Any]:
    """Trains ``network``, on the device, and keeps it; its facts."""
    if work.given.steps is not None:
        settings = replace(settings, max_steps=min(work.given.steps, settings.max_steps or work.given.steps))
    macs = _training_macs(work, network, loss, batches, settings)
    if work.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    state = work.out / "state" / f"{name}.pt"
    trained = train(
        network,
        loss,
        batches,
        settings,
        seed=work.seed,
        state=state,
        validate=validate,
        deadline=work.deadline,
        label=name,
    )
    folder = work.out / name
    folder.mkdir(parents=True, exist_ok=True)
    save_network(folder, config, trained.weights)
    for leftover in state.parent.glob(f"{state.stem}.*"):
        leftover.unlink()
    return {
        "steps": trained.history[-1].step,
        "batch": batches.batch,
        "seconds": trained.seconds,
        "seconds_per_step": seconds_per_step(trained.history),
        "macs_per_slice": macs,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "peak_gpu_bytes": torch.cuda.max_memory_allocated() if work.device.type == "cuda" else None,
        "loss": trained.history[-1].train_loss,
        "best": {"step": trained.best_step, "score": trained.best_score if validate else None},
    }


def seconds_per_step(history: list[Entry]) -> float:
    """Median over the entries before which nothing was validated; where there is none, up to the first, warm-up included."""
    pairs = pairwise(history)
    plain = [(b.seconds - a.seconds) / (b.step - a.step) for a, b in pairs if math.isnan(a.validation)]
    return float(np.median(plain)) if plain else history[0].seconds / history[0].step


def _training_macs(work: Work, network: nn.Module, loss: Loss, batches: SliceBatches, settings: TrainSettings) -> int:
    """Multiply-accumulate operations of one slice's part of a step, forward and backward, counted as they are done."""
    randoms = step_randoms(work.seed, 0, batches.batch)
    images, masks = batches(0, randoms)
    one = None if images is None else images[:1].to(work.device)

    def step() -> None:
        with autocast(work.device, settings.precision):
            value = loss(one, masks[:1].to(work.device), randoms[:1])
        value.backward()

    cost = measure(network.train(), step)
    network.zero_grad(set_to_none=True)
    return cost.macs


def _batches(work: Work, settings: TrainSettings, images: NDArray | None, masks: NDArray) -> SliceBatches:
    augment = work.of(AugmentSettings, "augment")
    return SliceBatches(images, masks, batch=settings.batch, augment=augment, seed=work.seed)


def train_masks(work: Work) -> dict[str, Any]:
    settings, val = work.of(TrainSettings, "masks", "train"), work.slices("val")
    torch.manual_seed(work.seed)
    config = work.of(mask_model_class(work.settings["masks"]["network"]["kind"]).Config, "masks", "network")
    network = mask_model(config).to(work.device)
    held = one_hot(torch.from_numpy(val.masks[np.linspace(0, len(val.masks) - 1, SCORED_MASKS).astype(int)]))
    return _trained(
        work,
        "masks",
        network,
        config,
        lambda _, masks, randoms: network.loss(masks, randoms),
        _batches(work, settings, None, work.train.masks),
        settings,
        lambda scored: -held_loss(scored, held, work.seed, settings),
    )


def train_autoencoder(work: Work, name: str) -> dict[str, Any]:
    settings = work.of(AutoencoderSettings, "generators", name, "autoencoder")
    torch.manual_seed(work.seed)
    network = VQVAE(settings.network).to(work.device)
    images = _tensor(work.slices("val").images)

    def validate(scored: VQVAE) -> float:
        """Minus the mean absolute error."""
        return -float((reconstructed(scored, images, settings.train) - images).abs().mean())

    batches = _batches(work, settings.train, work.train.images, work.train.masks)
    return _trained(work, f"{name}-autoencoder", network, settings.network, network.loss, batches, settings.train, validate)


def train_generator(work: Work, name: str) -> dict[str, Any]:
    settings = work.of(GeneratorTrainSettings, "generators", name, "train")
    kind, check = generator_class(name), work.of(CheckSettings, "generators", name, "validation")
    torch.manual_seed(work.seed)
    config = work.of(kind.Config, "generators", name, "network")
    network = kind(config).to(work.device)
    if work.settings["generators"][name]["autoencoder"] is not None:
        network.adopt(work.network(f"{name}-autoencoder", VQVAE), _tensor(work.train.images))
    reader, wanted = work.network("segmenter-real", Segmenter), _heart_rich(work.slices("val").masks, work)
    seeds = [step_seed(work.seed, row) for row in range(len(wanted))]

    def loss(images: Tensor | None, masks: Tensor, randoms: Randoms) -> Tensor:
        return network.loss(images, drop_masks(masks, settings.mask_drop, randoms), randoms)

    def validate(scored: Any) -> float:
        """Mask adherence, as in the project's own training."""
        images = drawn_images(scored, one_hot(torch.from_numpy(wanted)), seeds, check, settings)
        read = predict(reader, images[:, 0].numpy(), batch=settings.micro_batch or READ_AT_ONCE, precision=settings.precision)
        return float(mask_adherence(read, wanted).mean())

    batches = _batches(work, settings, work.train.images, work.train.masks)
    return _trained(work, name, network, config, loss, batches, settings, validate)


def train_segmenter(work: Work, pair: tuple[str, str] | None) -> dict[str, Any]:
    """On real slices, or on a tenth less than all images of a generator and source; the tenth chooses the checkpoint."""
    settings = work.of(TrainSettings, "segmenter", "train")
    torch.manual_seed(work.seed)
    config = work.of(Segmenter.Config, "segmenter", "network")
    network = Segmenter(config).to(work.device)
    if pair is None:
        own, held = work.train, work.slices("val")
        parts = (own.images, own.masks, held.images, held.masks)
    else:
        images, masks = work.drawn("sample-" + "-".join(pair)), work.masks_of(pair[1])
        tenth = np.arange(len(masks)) % 10 == 0
        parts = (images[~tenth], masks[~tenth], images[tenth], masks[tenth])

    def validate(scored: Segmenter) -> float:
        read = predict(scored, parts[2], batch=settings.micro_batch or READ_AT_ONCE, precision=settings.precision)
        scores = mask_adherence(read, parts[3])
        return float(np.nanmean(scores)) if np.isfinite(scores).any() else 0.0

    name = "segmenter-" + ("real" if pair is None else "-".join(pair))
    batches = _batches(work, settings, parts[0], parts[1])

    def loss(images: Tensor | None, masks: Tensor, _: Randoms) -> Tensor:
        assert images is not None  # its slices always have them
        return network.loss(images, masks)

    return _trained(work, name, network, config, loss, batches, settings, validate)


def _heart_rich(masks: NDArray[np.uint8], work: Work) -> NDArray[np.uint8]:
    """Evenly of those that show all structures."""
    whole = masks[[len(np.unique(mask)) == 4 for mask in masks]]
    whole = whole if len(whole) else masks
    return whole[np.unique(np.linspace(0, len(whole) - 1, work.settings["checked_images"]).astype(int))]


def _tensor(images: NDArray) -> Tensor:
    return torch.from_numpy(np.asarray(images, np.float32))[:, None]
