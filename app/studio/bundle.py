"""What was drawn as one file to take away: pictures, NIfTI volumes, masks, and the datasheet that goes with them."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from app.approved import Approved
from app.export import writer
from app.export.datasheet import Datasheet, write_datasheet
from app.export.draw import Conditions, Count
from app.studio.drawing import Drawn
from cmr.store import SliceStore
from mlops.registry import registered_name

FORMATS = ("png", "nifti")


def write_bundle(path: Path, drawn: Sequence[Drawn], masks: Approved | None, mask_seed: int) -> None:
    """Write a ZIP archive, a folder a generator.

    Args:
        drawn: of these, what is withheld is left out.
        masks: the model that drew the mask from ``mask_seed``; None where a person gave it.
    """
    with TemporaryDirectory() as scratch:
        for one in drawn:
            if one.image is not None:
                folder = Path(scratch) / f"{registered_name(one.approved.model)}-{one.approved.number}"
                _write_one(folder, one, masks, mask_seed)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(Path(scratch).rglob("*")):
                archive.write(file, file.relative_to(scratch))


def _write_one(folder: Path, one: Drawn, masks: Approved | None, mask_seed: int) -> None:
    store = _store(one, "masks" if masks else "given")
    layouts = []
    for name in FORMATS:
        (folder / name).mkdir(parents=True)
        layouts.append(f"Folder `{name}`: {writer(name)(folder / name, store)}")
    seeds, count = (np.array([mask_seed], np.int64), Count(drawn=1)) if masks else (None, Count())
    conditions = Conditions(store.masks, "masks" if masks else "given", seeds, count)
    about = Datasheet(one.approved, masks, conditions, store, Count(drawn=1), " and ".join(FORMATS), one.seed)
    write_datasheet(folder, about, "\n\n".join(layouts))


def _store(one: Drawn, source: str) -> SliceStore:
    """The image and its mask as a set of one slice."""
    assert one.image is not None
    row = {
        "subject": "synthetic-00000",
        "dataset": "synthetic",
        "split": "train",
        "vendor": "synthetic",
        "row_mm": one.approved.pixel_mm,
        "column_mm": one.approved.pixel_mm,
        "labelled": True,
        "generator": one.approved.model,
        "version": one.approved.number,
        "model": one.approved.run_key,
        "seed": one.seed,
        "sampler": one.approved.sampler,
        "steps": one.steps,
        "mask_source": source,
    }
    return SliceStore(one.mask[None], pd.DataFrame([row]), one.image[None].astype(np.float16))
