"""Pictures: what any viewer opens, and `syncmri evaluate` reads."""

from pathlib import Path

import numpy as np
from PIL import Image

from app.export.listed import write_patients
from cmr.store import SliceStore

_WHITE = 65535  # 8 bits are coarser than the images and would change close comparisons
_COLOURS = (0, 0, 0, 214, 69, 65, 245, 195, 68, 64, 120, 192)  # background, LV, MYO, RV


def write(folder: Path, drawn: SliceStore) -> str:
    assert drawn.images is not None
    for place in ("images", "masks"):
        (folder / place).mkdir()
    for name, image, mask in zip(drawn.index["subject"], drawn.images, drawn.masks, strict=True):
        grey = np.rint((np.asarray(image, np.float32) + 1) * (_WHITE / 2))
        Image.fromarray(np.clip(grey, 0, _WHITE).astype(np.uint16)).save(folder / "images" / f"{name}.png")
        labels = Image.fromarray(np.asarray(mask))
        labels.putpalette(_COLOURS)  # the pixels stay labels; viewers show them in colours
        labels.save(folder / "masks" / f"{name}.png")
    for place in ("images", "masks"):
        write_patients(folder / place, ((f"{name}.png", name) for name in drawn.index["subject"]))
    drawn.index.to_csv(folder / "index.csv", index=False)
    return (
        "`images/NAME.png` (16 bits, black -1, white 1), `masks/NAME.png` (palette: 0 background, 1 LV, 2 MYO, 3 RV), "
        "`patients.csv` in both, and `index.csv`, a row a slice: pixel size in mm, model, version, seeds, steps."
    )
