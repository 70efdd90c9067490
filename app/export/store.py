"""The platform's own format, which every stage and `syncmri evaluate` read."""

from pathlib import Path

from cmr.store import SliceStore


def write(folder: Path, drawn: SliceStore) -> str:
    SliceStore.write(folder, drawn.index, drawn.masks, drawn.images)
    return (
        "A slice store: `images.npy` (N, S, S) float16 in [-1, 1]; `masks.npy` (N, S, S) uint8, 0 background, 1 LV, 2 MYO, "
        "3 RV; `index.parquet`, a row a slice: pixel size in mm (`row_mm`, `column_mm`), model, version, seeds, steps."
    )
