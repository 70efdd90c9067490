"""A raw dataset of nnU-Net v2 (its documentation/dataset_format.md): the output folder takes the place of ``nnUNet_raw``."""

import json
from pathlib import Path

from app.export.listed import write_patients
from app.export.volume import ABOUT, write_image, write_mask
from cmr.labels import STRUCTURES
from cmr.store import SliceStore

DATASET = "Dataset900_SynCMRI"
"""Numbers below 500 are taken by public datasets; renaming the folder is all that another number needs."""


def write(folder: Path, drawn: SliceStore) -> str:
    assert drawn.images is not None
    images, labels = folder / DATASET / "imagesTr", folder / DATASET / "labelsTr"
    for place in (images, labels):
        place.mkdir(parents=True)
    rows = drawn.index[["subject", "row_mm", "column_mm"]].itertuples(index=False)
    for (name, row_mm, column_mm), image, mask in zip(rows, drawn.images, drawn.masks, strict=True):
        write_image(images / f"{name}_0000.nii.gz", image, (row_mm, column_mm))
        write_mask(labels / f"{name}.nii.gz", mask, (row_mm, column_mm))
    names = drawn.index["subject"]
    write_patients(images, ((f"{name}_0000.nii.gz", name) for name in names))
    write_patients(labels, ((f"{name}.nii.gz", name) for name in names))
    about = {
        "channel_names": {"0": "cine MR"},
        "labels": {"background": 0, **STRUCTURES},
        "numTraining": len(drawn),
        "file_ending": ".nii.gz",
    }
    (folder / DATASET / "dataset.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return (
        f"nnU-Net v2: `{DATASET}` with `dataset.json`, `imagesTr/NAME_0000.nii.gz` and `labelsTr/NAME.nii.gz` (1 LV, 2 MYO, "
        f"3 RV), with `patients.csv` in both. Set `nnUNet_raw` to this folder, or move `{DATASET}` into yours. {ABOUT}"
    )
