"""The layout of the ACDC challenge: one folder a "patient", here one a slice, since slices are drawn one by one."""

from pathlib import Path

import numpy as np

from app.export.listed import write_patients
from app.export.volume import ABOUT, write_image, write_mask
from cmr.labels import LV, MYO, RV
from cmr.store import SliceStore

LABELS = {RV: 1, MYO: 2, LV: 3}  # ACDC's own
_LOOKUP = np.array([LABELS.get(label, 0) for label in range(4)], np.uint8)


def write(folder: Path, drawn: SliceStore) -> str:
    assert drawn.images is not None
    rows = drawn.index[["subject", "row_mm", "column_mm"]].itertuples(index=False)
    for (name, row_mm, column_mm), image, mask in zip(rows, drawn.images, drawn.masks, strict=True):
        place = folder / "training" / name
        place.mkdir(parents=True)
        write_image(place / f"{name}_frame01.nii.gz", image, (row_mm, column_mm))
        write_mask(place / f"{name}_frame01_gt.nii.gz", _LOOKUP[mask], (row_mm, column_mm))
        # Both phases name the one frame there is, so that readers of the layout, which want both, take it.
        facts = "ED: 1\nES: 1\nGroup: synthetic\nNbFrame: 1\n"
        (place / "Info.cfg").write_text(facts, encoding="utf-8")
    write_patients(folder, ((f"training/{name}/{name}_frame01.nii.gz", name) for name in drawn.index["subject"]))
    return (
        "ACDC's layout: `training/NAME/NAME_frame01.nii.gz` with its mask `NAME_frame01_gt.nii.gz` (ACDC's labels: 1 RV, "
        f"2 MYO, 3 LV) and `Info.cfg`, whose ED and ES both name the one frame: the phase is not modelled. {ABOUT}"
    )
