"""Batches and augmentation."""

import numpy as np
import torch
from torch.nn import functional as F

from models.config import AugmentSettings
from models.data import SliceBatches, _grid, one_hot, step_randoms, step_seed

STILL = AugmentSettings(rotation=0, scale=0, shift=0, flip=False)
STRONG = AugmentSettings(rotation=20, scale=0.1, shift=0.05, flip=True)


def _disc(size: int = 64) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return ((x - 8) ** 2 + y**2 < 12**2).astype(np.uint8)


def _randoms(count: int, step: int = 0) -> list[torch.Generator]:
    return step_randoms(0, step, count)


def test_an_epoch_shows_every_slice_once_and_the_next_in_another_order():
    masks = np.zeros((12, 4, 4), np.uint8)
    images = np.broadcast_to(np.linspace(-1, 1, 12)[:, None, None], (12, 4, 4))
    batches = SliceBatches(images, masks, batch=3, augment=None, seed=1)
    shown = torch.stack([batches(step, _randoms(3))[0][:, 0, 0, 0] for step in range(8)])
    epochs = shown.view(2, 12).tolist()
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert len(set(epochs[0])) == 12
    assert epochs[0] != epochs[1]


def test_a_step_is_the_same_whichever_steps_came_before():
    rng = np.random.default_rng(0)
    images, masks = rng.uniform(-1, 1, (10, 16, 16)), rng.integers(0, 4, (10, 16, 16))
    first = SliceBatches(images, masks, batch=4, augment=STRONG, seed=5)
    for step in range(7):
        first(step, _randoms(4, step))
    fresh = SliceBatches(images, masks, batch=4, augment=STRONG, seed=5)
    for before, after in zip(first(7, _randoms(4, 7)), fresh(7, _randoms(4, 7)), strict=True):
        assert torch.equal(before, after)


def test_no_augmentation_changes_nothing():
    rng = np.random.default_rng(0)
    images, masks = rng.uniform(-1, 1, (4, 16, 16)).astype(np.float16), rng.integers(0, 4, (4, 16, 16))
    plain = SliceBatches(images, masks, batch=4, augment=None, seed=0)(0, _randoms(4))
    still = SliceBatches(images, masks, batch=4, augment=STILL, seed=0)(0, _randoms(4))
    assert torch.allclose(plain[0], still[0], atol=1e-5)
    assert torch.equal(plain[1], still[1])


def test_image_and_mask_move_together_and_stay_valid():
    disc = np.stack([_disc()] * 8)
    images, masks = SliceBatches(disc * 2.0 - 1, disc, batch=8, augment=STRONG, seed=0)(0, _randoms(8))
    seen = (images[:, 0] > 0).float()
    assert ((seen - masks[:, 1]).abs().mean(dim=(1, 2)) < 0.01).all()
    assert not torch.equal(masks[0], masks[1])
    assert torch.equal(masks.sum(dim=1), torch.ones(8, 64, 64))


def test_scale_and_rotation_stay_within_their_limits():
    disc = np.stack([_disc()] * 64)
    scaled = AugmentSettings(rotation=0, scale=0.1, shift=0, flip=False)
    _, masks = SliceBatches(None, disc, batch=64, augment=scaled, seed=0)(0, _randoms(64))
    areas = masks[:, 1].sum(dim=(1, 2)) / disc[0].sum()
    assert areas.min() < 0.9 < 1.1 < areas.max()
    assert areas.min() > 0.9**2 - 0.03
    assert areas.max() < 1.1**2 + 0.03
    turned = AugmentSettings(rotation=20, scale=0, shift=0, flip=False)
    _, masks = SliceBatches(None, disc, batch=64, augment=turned, seed=0)(0, _randoms(64))
    grid = torch.arange(64) - 31.5
    rows = (masks[:, 1] * grid[:, None]).sum(dim=(1, 2)) / masks[:, 1].sum(dim=(1, 2))
    columns = (masks[:, 1] * grid).sum(dim=(1, 2)) / masks[:, 1].sum(dim=(1, 2))
    angles = torch.rad2deg(torch.atan2(rows, columns))
    assert angles.abs().max() < 21
    assert angles.abs().max() > 15


def test_one_hot_has_one_channel_a_class():
    labels = torch.tensor([[[0, 1], [2, 3]]])
    assert torch.equal(one_hot(labels).argmax(dim=1), labels)
    assert one_hot(labels).shape == (1, 4, 2, 2)


def test_step_seeds_differ():
    assert len({step_seed(seed, step) for seed in range(3) for step in range(100)}) == 300


def test_a_cut_batch_is_augmented_as_the_whole():
    """What is random about an image is its own: the place in the batch does not matter."""
    disc = np.stack([_disc()] * 4)
    whole, _ = SliceBatches(disc * 2.0 - 1, disc, batch=4, augment=STRONG, seed=0)(0, _randoms(4))
    half, _ = SliceBatches(disc * 2.0 - 1, disc, batch=2, augment=STRONG, seed=0)(0, _randoms(4)[2:])
    assert torch.equal(whole[2:], half)


def test_classes_are_told_apart_as_torch_does():
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (3, 8, 10)))
    for kind in (torch.uint8, torch.int64, torch.float32):
        assert torch.equal(one_hot(labels.to(kind)), F.one_hot(labels, 4).movedim(-1, 1).float())


def test_the_grid_is_that_of_torch():
    maps = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(_grid(maps, 12, 20), F.affine_grid(maps, [5, 1, 12, 20], align_corners=False), atol=1e-6)
