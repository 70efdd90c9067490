"""Draws a synthetic set from approved models and withholds what comes too near to a slice that they were trained on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from app.approved import Approved, spawned_seeds
from cmr.errors import DataError
from cmr.labels import BACKGROUND
from cmr.store import SliceStore

ATTEMPTS = 5
"""Draws a mask or an image at most: where so many in turn are withheld, nothing takes their place."""
_MASKS, _IMAGES = 0, 1  # a mask and its image have different seeds

Draw = Callable[[NDArray[np.intp], list[int]], NDArray]
"""Numbers of the pictures to draw and a seed for each, to the pictures."""
Check = Callable[[], None]
"""Called before each batch; raises when the model may no longer be used."""


@dataclass(frozen=True)
class Count:
    """How many were drawn; of these withheld as near-copies; of masks, given up since they show no heart."""

    drawn: int = 0
    withheld: int = 0
    empty: int = 0


@dataclass(frozen=True)
class Conditions:
    """Masks (N, S, S) to draw images for.

    Attributes:
        source: ``masks`` (the mask model's), the name of a dataset, or ``given``.
        seeds, count: (N,) and how many it took, if the mask model drew them.
        licence: of the dataset, if they are a dataset's.
    """

    masks: NDArray[np.uint8]
    source: str
    seeds: NDArray[np.int64] | None = None
    count: Count = Count()
    licence: str = ""


def draw_masks(model: Approved, count: int, seed: int, check: Check) -> Conditions:
    """So many masks of the mask model (fewer where some are near-copies time after time), each with a heart.

    Raises:
        DataError: none is left.
    """
    place = np.empty((count, model.size, model.size), np.uint8)
    kept, seeds, counted = _fill(model, place, lambda rows, seeds: model.masks(seeds), (seed, _MASKS), check)
    return Conditions(place[kept], "masks", seeds[kept], counted)


def draw_images(
    model: Approved, conditions: Conditions, seed: int, check: Check, *, steps: int | None
) -> tuple[SliceStore, Count]:
    """One image for each mask, as a store in memory; a mask whose images are near-copies time after time is left out.

    Raises:
        DataError: none is left.
    """
    place = np.empty(conditions.masks.shape, np.float32)
    kept, seeds, counted = _fill(
        model, place, lambda rows, seeds: model.images(conditions.masks[rows], seeds, steps=steps), (seed, _IMAGES), check
    )
    index = pd.DataFrame(
        {
            "subject": [f"synthetic-{number:05d}" for number in range(len(kept))],
            "dataset": "synthetic",
            "split": "train",
            "vendor": "synthetic",
            "row_mm": model.pixel_mm,
            "column_mm": model.pixel_mm,
            "labelled": True,
            "generator": model.model,
            "version": model.number,
            "model": model.run_key,
            "seed": seeds[kept],
            "sampler": model.sampler,
            "steps": model.steps if steps is None else steps,
            "mask_source": conditions.source,
        }
    )
    if conditions.seeds is not None:
        index["mask_seed"] = conditions.seeds[kept]
    return SliceStore(conditions.masks[kept], index, place[kept].astype(np.float16)), counted


def _fill(
    model: Approved, place: NDArray, draw: Draw, path: tuple[int, int], check: Check
) -> tuple[NDArray[np.intp], NDArray[np.int64], Count]:
    """Fill ``place`` with pictures that may be given out: the rows that hold one, each row's seed, and what it took."""
    pending, seeds = np.arange(len(place)), np.zeros(len(place), np.int64)
    drawn = withheld = empty = 0
    for attempt in range(ATTEMPTS):
        fresh = np.array(spawned_seeds(path[0], len(place), path[1], attempt), np.int64)
        seeds[pending] = fresh[pending]
        label = f"draw {model.model}" + (", again" if attempt else "")
        for start in tqdm(range(0, len(pending), model.batch), desc=label, unit="batch", disable=None):
            check()
            rows = pending[start : start + model.batch]
            place[rows] = draw(rows, fresh[rows].tolist())
        copies, blank = model.near_copies(place[pending]), _without_heart(place[pending])
        drawn, withheld, empty = drawn + len(pending), withheld + int(copies.sum()), empty + int((blank & ~copies).sum())
        pending = pending[copies | blank]
        if not len(pending):
            break
    kept = np.setdiff1d(np.arange(len(place)), pending)
    if not len(kept):
        raise DataError(
            f"{model.name}: nothing can be given out: of {drawn} pictures {withheld} are near-copies of slices that it was "
            f"trained on, {empty} show no heart. `syncmri demote {model.model}` keeps others from using it."
        )
    return kept, seeds, Count(drawn, withheld, empty)


def _without_heart(pictures: NDArray) -> NDArray[np.bool_]:
    """(N,) for masks; an image always is one of a heart, or tries to be."""
    if pictures.dtype != np.uint8:
        return np.zeros(len(pictures), bool)
    return ~(pictures != BACKGROUND).any(axis=(1, 2))
