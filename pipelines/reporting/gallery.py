"""Which slices the page shows: hearts of each dataset, masks, the closest pairs. What takes a Project is in-house only."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.errors import DataError
from cmr.labels import STRUCTURES
from cmr.store import SliceStore
from mlops.gate import MASKS
from pipelines.reporting.names import SPLITS, dataset_name
from pipelines.reporting.pictures import Strip, Tile, image_tile, mask_tile
from pipelines.reporting.project import Project
from pipelines.reporting.source import ReportSource

COLUMNS = 8
_PAIRS = 6


def hearts(project: Project, dataset: str) -> list[Strip]:
    """Preprocessed slices with outlines: a mid-ventricular slice of several patients, then one patient from end to end."""
    store = project.store(f"slices/{dataset}")
    if store is None or dataset not in project.datasets:
        return []
    index = store.index[store.index["labelled"].astype(bool)]
    patients = spread(index.drop_duplicates("subject").sort_values(["vendor", "split", "subject"])["subject"].tolist())
    middles = [_middle(store, index[index["subject"] == patient], ("ED", "ES")[i % 2]) for i, patient in enumerate(patients)]
    strips = [Strip(f"{dataset_name(dataset)}: one mid-ventricular slice of {len(patients)} patients", _tiles(store, middles))]
    volume = _one_volume(index)
    if len(volume) > 2:
        first = index.loc[volume[0]]
        title = f"{dataset_name(dataset)}: patient {first['subject']}, {first['phase']}, every labelled slice in file order"
        strips.append(Strip(title, _tiles(store, volume, slice_only=True)))
    return strips


def real_masks(project: Project) -> list[Strip]:
    """Masks of the training patients; no strip where there are none. In-house only."""
    store = project.store("cohort/train")
    return [] if store is None else [_mask_strip(store, "Real: training masks")]


def generated_masks(project: ReportSource) -> list[Strip]:
    """Masks of the mask model; no strip where there are none."""
    store = project.synthetic(MASKS)
    return [] if store is None else [_mask_strip(store, "Generated: samples of the mask model")]


def _mask_strip(store: SliceStore, title: str) -> Strip:
    rows = spread(np.flatnonzero(all_structures(store)).tolist() or list(range(len(store))))
    return Strip(title, tuple(mask_tile(store.masks[row], f"{title}, {store.index['subject'][row]}") for row in rows))


def closest_pairs(project: Project, network: str) -> list[list[Tile]]:
    """The samples nearest to training, nearest first: each with its nearest training and its nearest hold-out slice.

    Raises:
        DataError: the pairs do not belong to the stores.
    """
    stage = project.stage(f"privacy-{network}")
    pairs: list[dict[str, Any]] = (stage.notes.get("pairs") or []) if stage else []
    sampled = "masks/full" if network == "masks" else f"sets/{network}-full"
    paths = {"synthetic": sampled, "train": "cohort/train", "holdout": "cohort/holdout"}
    stores = {kind: project.store(path) for kind, path in paths.items()} if pairs else {}
    shown = []
    for pair in pairs[:_PAIRS]:
        tiles = []
        for kind, store in stores.items():
            if store is None or int(pair[kind]) >= len(store):
                raise DataError(
                    f"reports/figures/privacy-{network}.json speaks of row {pair[kind]} of data/{paths[kind]}, which is not "
                    "there; figures and slices are of different versions: run `dvc repro`"
                )
            tiles.append(_pair_tile(store, int(pair[kind]), kind, pair.get(f"{kind}_distance"), network == "masks"))
        shown.append(tiles)
    return shown


def _pair_tile(store: SliceStore, row: int, kind: str, distance: float | None, of_masks: bool) -> Tile:
    called = {"synthetic": "synthetic", "train": "training", "holdout": "hold-out"}[kind]
    caption = called if distance is None else f"{called} {store.index['subject'][row]}, L2 {distance:.2f}"
    return mask_tile(store.masks[row], called, caption) if of_masks else image_tile(images_of(store)[row], called, caption)


def _tiles(store: SliceStore, rows: list[int], slice_only: bool = False) -> tuple[Tile, ...]:
    tiles = []
    for row in rows:
        about = store.index.iloc[row]
        caption = f"slice {about['slice']}" if slice_only else patient_of(store.index, row)
        split = SPLITS.get(about["split"], about["split"]).lower()
        alt = f"{about['subject']}, {about['phase']}, slice {about['slice']}, {about['vendor']}, {split}"
        tiles.append(image_tile(images_of(store)[row], alt, caption, store.masks[row]))
    return tuple(tiles)


def patient_of(index: pd.DataFrame, row: int) -> str:
    """The caption of a slice: patient and phase."""
    about = index.iloc[row]
    return f"{about['subject']} · {about['phase']}"


def images_of(store: SliceStore) -> NDArray[np.float16]:
    """The images of a store; DataError where it holds masks only."""
    if store.images is None:
        raise DataError("a slice store with images was expected, found masks only; make it again with `dvc repro`")
    return store.images


def all_structures(store: SliceStore) -> NDArray[np.bool_]:
    """(N,) whether a mask shows LV, myocardium and RV."""
    masks = np.asarray(store.masks)
    return np.all([(masks == label).any(axis=(1, 2)) for label in STRUCTURES.values()], axis=0)


def _middle(store: SliceStore, rows: pd.DataFrame, phase: str) -> int:
    """The middle one of the patient's slices that show all structures, of the given phase where there is one."""
    rows = rows[rows["phase"] == phase] if (rows["phase"] == phase).any() else rows
    numbers = rows.index.to_numpy()
    complete = numbers[all_structures(store.select(numbers))]
    candidates = complete if len(complete) else numbers
    return int(candidates[len(candidates) // 2])


def _one_volume(index: pd.DataFrame) -> list[int]:
    """Rows of the ED volume with the most labelled slices, in file order."""
    ed = index[index["phase"] == "ED"]
    if ed.empty:
        return []
    subject = ed["subject"].value_counts(sort=True).index[0]
    return ed[ed["subject"] == subject].sort_values("slice").index.tolist()


def spread(items: list[Any], columns: int = COLUMNS) -> list[Any]:
    """At most a row of items, evenly spread over the list, first and last among them."""
    if len(items) <= columns:
        return items
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, columns)]
