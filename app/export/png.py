"""Pictures: what any viewer opens, and `syncmri evaluate` reads."""

from pathlib import Path

import numpy as np
from PIL import Image

from cmr.store import SliceStore

_COLOURS = (0, 0, 0, 214, 69, 65, 245, 195, 68, 64, 120, 192)  # background, LV, MYO, RV


def write(folder: Path, drawn: SliceStore) -> str:
    assert drawn.images is not None
    for place in ("images", "masks"):
        (folder / place).mkdir()
    for name, image, mask in zip(drawn.index["subject"], drawn.images, drawn.masks, strict=True):
        grey = np.rint((np.asarray(image, np.float32) + 1) * 127.5)
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(folder / "images" / f"{name}.png")
        labels = Image.fromarray(np.asarray(mask))
        labels.putpalette(_COLOURS)  # the pixels stay labels; viewers show them in colours
        labels.save(folder / "masks" / f"{name}.png")
    drawn.index.to_csv(folder / "index.csv", index=False)
    return (
        "`images/NAME.png` (8 bits, black -1, white 1), `masks/NAME.png` (palette: 0 background, 1 LV, 2 MYO, 3 RV) and "
        "`index.csv`, a row a slice: pixel size in mm, model, version, seeds, steps."
    )
