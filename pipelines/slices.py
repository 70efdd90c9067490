"""Stage ``slices@DATASET``: assigns the splits and cuts the frames into the slice stores that everything else reads."""

from pathlib import Path

import pandas as pd

from cmr.slices import SliceSettings, cut_slices, training_masks
from cmr.splits import HoldoutSettings, SplitSettings, assign_splits
from cmr.store import SliceStore
from mlops.settings import GeneratorsSettings, section
from pipelines.stage import REAL_SPLITS, run, say


def main(dataset: str) -> None:
    manifest = pd.read_parquet(f"data/manifests/{dataset}.parquet")
    held_out = (
        section("privacy.holdout", HoldoutSettings) if dataset in section("generators", GeneratorsSettings).train_on else None
    )
    splits = assign_splits(manifest, settings=section("splits", SplitSettings), holdout=held_out, seed=section("seed", int))
    path = Path("data/slices") / dataset
    summary = cut_slices(Path("data/frames") / dataset, manifest, splits, section("slices", SliceSettings), path)

    store = SliceStore.open(path)
    to_train_on = store.select(store.index["split"].isin(["train", "val"]) & store.index["labelled"])
    SliceStore.write(f"data/sets/{dataset}-real", to_train_on.index, to_train_on.masks, to_train_on.images)
    masks = training_masks(store)
    SliceStore.write(f"data/masks/{dataset}", masks.index, masks.masks)

    patients = ", ".join(f"{split} {list(splits.values()).count(split)}" for split in REAL_SPLITS)
    say(f"slices {dataset}: {summary.rows} slices; patients: {patients}; {summary.dropped_flat} flat slices left out")
    if summary.cut_hearts:
        say(f"warning: {summary.cut_hearts} hearts are larger than the window; raise slices.field_of_view_mm")


if __name__ == "__main__":
    run(main)
