"""Which slices the page shows: hearts of each dataset, masks, the sample grid, the closest pairs."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.errors import DataError
from cmr.labels import STRUCTURES
from cmr.store import SliceStore
from pipelines.reporting.names import SPLITS, dataset_name, network_name
from pipelines.reporting.pictures import Strip, Tile, image_tile, mask_tile
from pipelines.reporting.project import Project

COLUMNS = 8
_PAIRS = 6
_KEYS = ["dataset", "subject", "phase", "slice"]


def hearts(project: Project, dataset: str) -> list[Strip]:
    """Preprocessed slices with outlines: a mid-ventricular slice of several patients, then one patient from end to end."""
    store = project.store(f"slices/{dataset}")
    if store is None or dataset not in project.datasets:
        return []
    index = store.index[store.index["labelled"].astype(bool)]
    patients = _spread(index.drop_duplicates("subject").sort_values(["vendor", "split", "subject"])["subject"].tolist())
    middles = [_middle(store, index[index["subject"] == patient], ("ED", "ES")[i % 2]) for i, patient in enumerate(patients)]
    strips = [Strip(f"{dataset_name(dataset)}: one mid-ventricular slice of {len(patients)} patients", _tiles(store, middles))]
    volume = _one_volume(index)
    if len(volume) > 2:
        first = index.loc[volume[0]]
        title = f"{dataset_name(dataset)}: patient {first['subject']}, {first['phase']}, every labelled slice in file order"
        strips.append(Strip(title, _tiles(store, volume, slice_only=True)))
    return strips


def masks(project: Project) -> list[Strip]:
    """Real masks of the training patients above masks of the mask DDPM."""
    strips = []
    for path, title in (("cohort/train", "Real: training masks"), ("masks/full", "Generated: samples of the mask DDPM")):
        store = project.store(path)
        if store is not None:
            rows = _spread(np.flatnonzero(_all_structures(store)).tolist() or list(range(len(store))))
            tiles = tuple(mask_tile(store.masks[row], f"{title}, {store.index['subject'][row]}") for row in rows)
            strips.append(Strip(title, tiles))
    return strips


def sample_grid(project: Project, generator: str) -> list[Strip]:
    """Test masks, the real slices they came from, and what the generator made of them; one patient a column."""
    paired = paired_rows(project, generator)
    if paired is None:
        return []
    real, synthetic, rows = paired
    masks_row = [mask_tile(real.masks[i], "test mask", _patient(real.index, i)) for i, _ in rows]
    real_row = [image_tile(_images(real)[i], "real slice of that mask") for i, _ in rows]
    made = [image_tile(_images(synthetic)[j], f"synthetic slice by {network_name(generator)}") for _, j in rows]
    name = network_name(generator)
    return [Strip("Mask", tuple(masks_row)), Strip("Real", tuple(real_row)), Strip(f"Synthetic, {name}", tuple(made))]


def synthetic_only(project: Project, generator: str) -> list[Strip]:
    """Images on masks of the mask DDPM (Full-Syn): nothing in them is real."""
    store = project.store(f"sets/{generator}-full")
    if store is None:
        return []
    rows = _spread(np.flatnonzero(_all_structures(store)).tolist() or list(range(len(store))))
    made = tuple(image_tile(_images(store)[row], f"synthetic slice by {network_name(generator)}") for row in rows)
    drawn = tuple(mask_tile(store.masks[row], "generated mask") for row in rows)
    return [Strip("Generated mask", drawn), Strip(f"Synthetic, {network_name(generator)}", made)]


def grid_arrays(project: Project, generator: str) -> list[list[NDArray]]:
    """The sample grid as arrays: a row of masks, of real slices, of synthetic slices. Empty when there is no paired set."""
    paired = paired_rows(project, generator)
    if paired is None:
        return []
    real, synthetic, rows = paired
    return [
        [np.asarray(real.masks[i]) for i, _ in rows],
        [_images(real)[i] for i, _ in rows],
        [_images(synthetic)[j] for _, j in rows],
    ]


def paired_rows(project: Project, generator: str) -> tuple[SliceStore, SliceStore, list[tuple[int, int]]] | None:
    """The test cohort, the images made from its masks, and row pairs (real, synthetic) of different patients.

    Raises:
        DataError: the two stores have no slice in common.
    """
    real, synthetic = project.store("cohort/test"), project.store(f"sets/{generator}-test")
    if real is None or synthetic is None:
        return None
    left = real.index[_KEYS].assign(real_row=np.arange(len(real)), shown=_all_structures(real))
    right = synthetic.index[_KEYS].assign(synthetic_row=np.arange(len(synthetic)))
    both = left.merge(right, on=_KEYS)
    if both.empty:
        raise DataError(
            f"data/sets/{generator}-test and data/cohort/test have no slice in common (by {', '.join(_KEYS)}); "
            f"sample again: `dvc repro -f sample@{generator}-test`"
        )
    full = both[both["shown"]] if both["shown"].any() else both
    # The middle slice of each patient, then spread over the patients.
    middle = [group.iloc[len(group) // 2] for _, group in full.groupby(["dataset", "subject"], sort=True)]
    return real, synthetic, [(int(row["real_row"]), int(row["synthetic_row"])) for row in _spread(middle)]


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
    return mask_tile(store.masks[row], called, caption) if of_masks else image_tile(_images(store)[row], called, caption)


def _tiles(store: SliceStore, rows: list[int], slice_only: bool = False) -> tuple[Tile, ...]:
    tiles = []
    for row in rows:
        about = store.index.iloc[row]
        caption = f"slice {about['slice']}" if slice_only else _patient(store.index, row)
        split = SPLITS.get(about["split"], about["split"]).lower()
        alt = f"{about['subject']}, {about['phase']}, slice {about['slice']}, {about['vendor']}, {split}"
        tiles.append(image_tile(_images(store)[row], alt, caption, store.masks[row]))
    return tuple(tiles)


def _patient(index: pd.DataFrame, row: int) -> str:
    about = index.iloc[row]
    return f"{about['subject']} · {about['phase']}"


def _images(store: SliceStore) -> NDArray[np.float16]:
    if store.images is None:
        raise DataError("a slice store with images was expected, found masks only; make it again with `dvc repro`")
    return store.images


def _all_structures(store: SliceStore) -> NDArray[np.bool_]:
    masks = np.asarray(store.masks)
    return np.all([(masks == label).any(axis=(1, 2)) for label in STRUCTURES.values()], axis=0)


def _middle(store: SliceStore, rows: pd.DataFrame, phase: str) -> int:
    """The middle one of the patient's slices that show all structures, of the given phase where there is one."""
    rows = rows[rows["phase"] == phase] if (rows["phase"] == phase).any() else rows
    numbers = rows.index.to_numpy()
    complete = numbers[_all_structures(store.select(numbers))]
    candidates = complete if len(complete) else numbers
    return int(candidates[len(candidates) // 2])


def _one_volume(index: pd.DataFrame) -> list[int]:
    """Rows of the ED volume with the most labelled slices, in file order."""
    ed = index[index["phase"] == "ED"]
    if ed.empty:
        return []
    subject = ed["subject"].value_counts(sort=True).index[0]
    return ed[ed["subject"] == subject].sort_values("slice").index.tolist()


def _spread(items: list[Any]) -> list[Any]:
    """At most a row of items, evenly spread over the list, first and last among them."""
    if len(items) <= COLUMNS:
        return items
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, COLUMNS)]
