"""The small grids of pictures that a trained network leaves in its folder, for the tracking server."""

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


def save_pairs(masks: NDArray[np.uint8], real: NDArray, synthetic: NDArray, path: Path) -> None:
    """Three rows, mask, real and synthetic, a column a slice; images (N, H, W) in [-1, 1]."""
    shown = min(len(masks), 2 * _COLUMNS)
    figure, axes = plt.subplots(3, shown, figsize=(shown, 3.2), squeeze=False)
    for column in range(shown):
        axes[0, column].imshow(masks[column], cmap=COLOURS, vmin=0, vmax=CLASSES - 1, interpolation="nearest")
        for row, images in ((1, real), (2, synthetic)):
            axes[row, column].imshow(np.asarray(images[column], np.float32), cmap="gray", vmin=-1, vmax=1)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for row, name in enumerate(("mask", "real", "synthetic")):
        axes[row, 0].set_ylabel(name)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=100)
    plt.close(figure)
