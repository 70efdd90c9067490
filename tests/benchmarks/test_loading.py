"""Batches cut from memory are those of a DataLoader that reads and moves slice by slice, given the same random numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from benchmarks.loading import AUGMENT, PERCENTILES, SEED, Files, Rows, agreement, epoch_order, slices
from cmr.slices import scale
from models.data import SliceBatches, step_randoms

BATCH = 20  # more than what is moved at a time


@pytest.fixture
def both(tmp_path: Path) -> tuple[list[torch.Tensor], tuple[torch.Tensor | None, torch.Tensor]]:
    pictures, masks = slices(24)
    for row in range(len(masks)):
        np.save(tmp_path / f"image-{row}.npy", pictures[row])
        np.save(tmp_path / f"mask-{row}.npy", masks[row])
    batches = SliceBatches(scale(pictures, PERCENTILES), masks, batch=BATCH, augment=AUGMENT, seed=SEED)
    plain = next(iter(DataLoader(Files(tmp_path), batch_sampler=Rows(epoch_order(batches), BATCH))))
    return plain, batches(0, step_randoms(SEED, 0, BATCH))


def test_memory_gives_the_batches_that_files_give(both) -> None:
    plain, ours = both
    agreement(plain, ours)
    assert [tuple(part.shape) for part in ours] == [(BATCH, 1, 128, 128), (BATCH, 4, 128, 128)]


def test_batches_that_differ_end_the_benchmark(both) -> None:
    (images, masks), ours = both
    with pytest.raises(SystemExit, match="images"):
        agreement([images.flip(0), masks], ours)
    with pytest.raises(SystemExit, match="masks"):
        agreement([images, masks.flip(0)], ours)
