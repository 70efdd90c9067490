"""Stages ``segment@SETUP`` and ``segment_again@SETUP-SEED``: a segmenter trained on one set, real or synthetic."""

import numpy as np

from cmr.store import SliceStore
from evaluation.adherence import mask_adherence
from mlops.settings import section
from models.config import AugmentSettings, TrainSettings
from models.data import SliceBatches
from models.segmenter import Segmenter, SegmenterNetwork, predict
from pipelines.stage import run, segmenter_name
from pipelines.training import Job, train_stage
from pipelines.validation import validation_rows


def main(*words: str) -> None:
    train_stage("pipelines.segment", *words)


def job(setup: str, further: str | None = None) -> Job:
    path = f"data/sets/{setup}"
    store = SliceStore.open(path)
    settings, augment, seed = (
        section("segmenter.train", TrainSettings),
        section("augment", AugmentSettings),
        section("seed", int) if further is None else int(further),
    )
    held = validation_rows(store)
    training, validation = store.select(~held), store.select(held)

    def validate(network: Segmenter) -> float:
        """Mean Dice over the structures and slices of the validation set."""
        images = np.asarray(validation.images)
        read = predict(network, images, batch=settings.micro_batch or 64, precision=settings.precision)
        return float(np.nanmean(mask_adherence(read, validation.masks)))

    return Job(
        name=f"segmenter/{segmenter_name(setup, further)}",
        kind="segmenter",
        build=Segmenter,
        config=section("segmenter.network", SegmenterNetwork),
        train=settings,
        batches=SliceBatches(training.images, training.masks, batch=settings.batch, augment=augment, seed=seed),
        stores={path: store},
        params={"augment": vars(augment)},
        seed=seed,
        loss=lambda network: lambda images, masks, _: network.loss(images, masks),
        validate=validate if len(validation) else None,
    )


if __name__ == "__main__":
    run(main)
