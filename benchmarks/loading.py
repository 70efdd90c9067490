"""Training batches, augmented: a DataLoader that reads and normalises slice by slice, against batches cut from memory.

    python -m benchmarks.loading [--quick]

The plain way reads each slice from a file of its own (float32, as preprocessing leaves it), clips and scales it, turns image
and mask with ``affine_grid`` and ``grid_sample``, and makes the mask one-hot; with no worker and with one a core, whichever is
faster counts. It is given the same random numbers, so that the batches must agree. Files are in the page cache: a disk would
slow it.
"""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.harness import agree, arguments, compare, cores, finish, repeats, report, timed
from cmr.slices import scale
from models.config import AugmentSettings
from models.data import SliceBatches, step_randoms

SIZE = 128
AUGMENT = AugmentSettings(rotation=20.0, scale=0.05, shift=0.05, flip=True)  # the paper profile's
PERCENTILES = (1.0, 99.0)
SEED = 7


class Files(Dataset):
    """A slice a file; an item is asked for by its row and the seed of its random numbers."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __getitem__(self, wanted: tuple[int, torch.Generator]) -> tuple[Tensor, Tensor]:
        row, random = wanted
        image = np.load(self.folder / f"image-{row}.npy")
        low, high = np.percentile(image, PERCENTILES)
        image = torch.from_numpy(2 * (np.clip(image, low, high) - low) / (high - low) - 1).float()[None, None]
        mask = torch.from_numpy(np.load(self.folder / f"mask-{row}.npy")).float()[None, None]
        draws = torch.rand(6, generator=random).tolist()
        angle, size, right, down = (2 * draw - 1 for draw in draws[:4])
        angle, size = math.radians(angle * AUGMENT.rotation), 1 + size * AUGMENT.scale
        mirror_x, mirror_y = (-1.0 if draw < 0.5 and AUGMENT.flip else 1.0 for draw in draws[4:])
        matrix = torch.tensor(
            [
                [math.cos(angle) / size * mirror_x, -math.sin(angle) / size * mirror_y, 2 * AUGMENT.shift * right],
                [math.sin(angle) / size * mirror_x, math.cos(angle) / size * mirror_y, 2 * AUGMENT.shift * down],
            ]
        )
        grid = F.affine_grid(matrix[None], [1, 1, SIZE, SIZE], align_corners=False)
        image = F.grid_sample(image, grid, "bilinear", "reflection", align_corners=False)
        mask = F.grid_sample(mask, grid, "nearest", "reflection", align_corners=False)
        return image[0], F.one_hot(mask[0, 0].long(), 4).movedim(-1, 0).float()


class Rows(Sampler):
    """The rows of one epoch in batches, each with its random source."""

    def __init__(self, order: list[int], batch: int):
        self.order, self.batch = order, batch

    def __iter__(self):
        for step in range(len(self)):
            rows = self.order[step * self.batch : (step + 1) * self.batch]
            yield list(zip(rows, step_randoms(SEED, step, self.batch), strict=True))

    def __len__(self) -> int:
        return len(self.order) // self.batch


def main() -> None:
    """Prints and records the figures; see the module."""
    parser = arguments(__doc__)
    parser.add_argument("--slices", type=int, default=None, help="in the store (1024; with --quick 256)")
    given = parser.parse_args()
    count = given.slices or (256 if given.quick else 1024)
    pictures, masks = slices(count)
    with TemporaryDirectory(prefix="syncmri-benchmark-") as folder:
        for row in range(count):
            np.save(Path(folder) / f"image-{row}.npy", pictures[row])
            np.save(Path(folder) / f"mask-{row}.npy", masks[row])
        for batch in (8, 64):
            measured(Path(folder), pictures, masks, batch, repeats(given))
    finish(given)


def measured(folder: Path, pictures: NDArray[np.float32], masks: NDArray[np.uint8], batch: int, turns: int) -> None:
    """One epoch each way."""
    batches = SliceBatches(scale(pictures, PERCENTILES), masks, batch=batch, augment=AUGMENT, seed=SEED)
    order = epoch_order(batches)

    def loader(workers: int) -> DataLoader:
        return DataLoader(Files(folder), batch_sampler=Rows(order, batch), num_workers=workers)

    def plain(workers: int) -> None:
        for _ in loader(workers):
            pass

    def ours() -> None:
        for step in range(batches.steps_per_epoch):
            batches(step, step_randoms(SEED, step, batch))

    told = agreement(next(iter(loader(0))), batches(0, step_randoms(SEED, 0, batch)))
    best = min((0, cores()), key=lambda workers: timed(lambda: plain(workers)))
    found = compare(lambda: plain(best), ours, repeats=turns, agreement=told)
    report(
        f"data loading, batch {batch}",
        found,
        goal=10,
        work=f"an epoch of {len(order)} slices of {SIZE} px, seconds a slice, plain way with {best} workers",
        limit="moving image and mask, which both ways do, is most of what ours takes: see docs/performance.md",
        unit=len(order) // batch * batch,
    )


def epoch_order(batches: SliceBatches) -> list[int]:
    """The rows in the order in which our way shows them in the first epoch: each slice is told by its number."""
    count = len(batches.masks)
    numbers = np.broadcast_to(np.arange(count, dtype=np.float64)[:, None, None], (count, 1, 1))
    told = SliceBatches(numbers, np.zeros((count, 1, 1), np.uint8), batch=batches.batch, augment=None, seed=batches.seed)
    shown = [told(step, step_randoms(SEED, step, batches.batch))[0] for step in range(told.steps_per_epoch)]
    return [int(number) for images in shown if images is not None for number in images.flatten()]


def agreement(plain: list[Tensor], ours: tuple[Tensor | None, Tensor]) -> str:
    """Images to what float16 keeps; of the masks' pixels next to none may fall to another side of a border."""
    told = agree("images", ours[0], plain[0], 3e-3)
    other = float((ours[1] != plain[1]).any(dim=1).float().mean())
    if other > 1e-3:
        raise SystemExit(f"masks: {other:.2%} of the pixels differ: nothing was timed")
    return f"{told}, masks but for {other:.1g} of the pixels"


def slices(count: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Smooth random pictures in scanner units, and masks of three rings: what they show takes no time to interpolate."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    radius = np.hypot(x, y)
    masks = np.digitize(rng.uniform(0.8, 1.2, (count, 1, 1)) * radius, [15, 25, 35]).astype(np.uint8)
    waves = rng.uniform(0.02, 0.2, (2, count, 1, 1))
    pictures = 300 + 200 * np.sin(waves[0] * x) * np.cos(waves[1] * y)
    return pictures.astype(np.float32), 3 - masks


if __name__ == "__main__":
    main()
