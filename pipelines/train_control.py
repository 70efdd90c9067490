"""Stages ``control@GEN`` and ``control_masks``: the positive control of the membership attack.

The network's own class, settings, optimiser and autoencoder, trained far too long on few patients of one vendor: an attack that
does not find these is weak. Who they are, and who the others of that vendor are, lies in ``slices.csv`` beside the weights.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from cmr.files import whole_folder
from cmr.store import SliceStore
from evaluation.privacy.membership.control import SLICE, ControlDraw, draw_control
from evaluation.privacy.membership.figures import NoMatchError
from evaluation.privacy.membership.settings import ControlSettings
from mlops.settings import generator_config, load_params, mask_config, section
from models.config import GeneratorTrainSettings, TrainSettings
from models.data import SliceBatches
from models.registry import mask_model
from models.train import Loss
from pipelines.stage import run, say, write_json
from pipelines.train_generator import build, loss_of, stands_on
from pipelines.training import Job, train_stage


def main(name: str) -> None:
    try:
        _draw()
    except NoMatchError as error:
        with whole_folder(Path("runs/control") / name) as folder:
            write_json(folder / "none.json", {"reason": str(error)})
        say(f"control {name}: none: {error}")
        return
    train_stage("pipelines.train_control", name)


def job(name: str) -> Job:
    """The training of a network's control.

    Raises:
        NoMatchError: there are too few patients of one vendor.
    """
    settings, drawn, training, holdout = _draw()
    slices = _slices(drawn, training, holdout)
    members = training.select(drawn.members)
    network, config, own, loss, extra = _masks() if name == "masks" else _generator(name, training)
    train = replace(own, epochs=None, max_steps=settings.mask_steps if name == "masks" else settings.max_steps)
    seed = section("seed", int)
    return Job(
        name=f"control/{name}",
        kind="control",
        build=network,
        config=config,
        train=train,
        batches=SliceBatches(
            None if name == "masks" else members.images, members.masks, batch=train.batch, augment=None, seed=seed
        ),
        stores={"data/cohort/train": training},
        params={
            "augment": None,
            "control": {"members": sorted(members.index["subject"].unique()), "slices": settings.slices},
            **extra,
        },
        seed=seed,
        loss=loss,
        measure=lambda _: {"slices_trained_on": len(members)},
        pictures=lambda _, folder: slices.to_csv(folder / "slices.csv", index=False),
    )


def _draw() -> tuple[ControlSettings, ControlDraw, SliceStore, SliceStore]:
    """Who is learnt by heart and who is not, of the training and of the hold-out patients."""
    settings = section("privacy.control", ControlSettings)
    training, holdout = SliceStore.open("data/cohort/train"), SliceStore.open("data/cohort/holdout")
    return settings, draw_control(training.index, holdout.index, settings, section("seed", int)), training, holdout


Parts = tuple[Callable[[Any], Any], Any, TrainSettings, Callable[[Any], Loss], dict[str, Any]]
"""How to build the network, its config, its own training, its loss, and what else decides the result."""


def _masks() -> Parts:
    own = section("masks.train", TrainSettings)
    return (
        mask_model,
        mask_config(load_params()),
        own,
        lambda net: lambda _, masks, randoms: net.loss(masks, randoms),
        {},
    )


def _generator(name: str, training: SliceStore) -> Parts:
    config, own = generator_config(load_params(), name), section(f"{name}.train", GeneratorTrainSettings)
    return partial(build, name, training=training), config, own, partial(loss_of, settings=own), stands_on(name, config)


def _slices(drawn: ControlDraw, training: SliceStore, holdout: SliceStore) -> pd.DataFrame:
    """One row a slice: ``side`` (members or nonmembers), ``split`` of the cohort, and what names the slice there."""
    parts = [("members", "train", training, drawn.members), ("nonmembers", "train", training, drawn.nonmembers)]
    parts += [("nonmembers", "holdout", holdout, drawn.holdout)]
    tables = [store.index.iloc[rows][SLICE].assign(side=side, split=split) for side, split, store, rows in parts]
    return pd.concat(tables, ignore_index=True)


if __name__ == "__main__":
    run(main)
