"""The small grids of pictures that a trained network leaves in its folder. Those of what it drew go to the tracking server."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray

from cmr.labels import CLASSES

# Background, LV, MYO, RV: told apart by the colour-blind too (Okabe and Ito 2008).
COLOURS = ListedColormap(["#111111", "#d55e00", "#009e73", "#56b4e9"])
_COLUMNS = 8


def save_masks(masks: NDArray[np.uint8], path: Path) -> None:
    """A grid of label maps (N, H, W)."""
    rows = -(-len(masks) // _COLUMNS)
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=(_COLUMNS, rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, mask in zip(axes.flat, masks, strict=False):
        axis.imshow(mask, cmap=COLOURS, vmin=0, vmax=CLASSES - 1, interpolation="nearest")
    _save(figure, path)


def save_drawn(images: NDArray, path: Path) -> None:
    """A grid of images (N, H, W) in [-1, 1] that a generator drew. The tracking server shows it: it holds no real slice."""
    rows = -(-len(images) // _COLUMNS)
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=(_COLUMNS, rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image in zip(axes.flat, images, strict=False):
        axis.imshow(np.asarray(image, np.float32), cmap="gray", vmin=-1, vmax=1)
    _save(figure, path)


def save_reconstructions(images: NDArray, reconstructions: NDArray, path: Path) -> None:
    """Two rows, the slice and what its autoencoder makes of it; images (N, H, W) in [-1, 1]. It stays in-house."""
    _save_rows({"slice": images, "rebuilt": reconstructions}, path)


def _save_rows(rows: dict[str, NDArray], path: Path) -> None:
    """Named rows of label maps (uint8) or images, at most 16 columns."""
    shown = min(2 * _COLUMNS, *map(len, rows.values()))
    figure, axes = plt.subplots(len(rows), shown, figsize=(shown, 1.07 * len(rows)), squeeze=False)
    for row, (name, pictures) in enumerate(rows.items()):
        for axis, picture in zip(axes[row], pictures, strict=False):
            if picture.dtype == np.uint8:
                axis.imshow(picture, cmap=COLOURS, vmin=0, vmax=CLASSES - 1, interpolation="nearest")
            else:
                axis.imshow(np.asarray(picture, np.float32), cmap="gray", vmin=-1, vmax=1)
            axis.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=100)
    plt.close(figure)
