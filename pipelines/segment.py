"""Stage ``segment@SETUP``: a segmenter trained on one set, real or synthetic."""

import zlib

import numpy as np
from numpy.typing import NDArray

from cmr.store import SliceStore
from evaluation.adherence import mask_adherence
from mlops.settings import section
from models.config import AugmentSettings, TrainSettings
from models.data import SliceBatches
from models.segmenter import Segmenter, SegmenterNetwork, predict
from pipelines.stage import run
from pipelines.training import Job, train_job


def main(setup: str) -> None:
    path = f"data/sets/{setup}"
    store = SliceStore.open(path)
    settings, augment, seed = (
        section("segmenter.train", TrainSettings),
        section("augment", AugmentSettings),
        section("seed", int),
    )
    held = validation_rows(store)
    training, validation = store.select(~held), store.select(held)

    def validate(network: Segmenter) -> float:
        """Mean Dice over the structures and slices of the validation set."""
        return float(np.nanmean(mask_adherence(predict(network, np.asarray(validation.images), batch=64), validation.masks)))

    train_job(
        Job(
            name=f"segmenter/{setup}",
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
    )


def validation_rows(store: SliceStore) -> NDArray[np.bool_]:
    """The rows that choose the best checkpoint: the real validation patients, or a tenth of a synthetic set, by patient.

    A real set without a validation patient lends a tenth of its own patients too.
    """
    official = (store.index["split"] == "val").to_numpy()
    if official.any():
        return official
    return np.array([zlib.crc32(str(subject).encode()) % 10 == 0 for subject in store.index["subject"]])


if __name__ == "__main__":
    run(main)
