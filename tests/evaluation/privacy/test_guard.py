import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cmr.errors import DataError
from evaluation.privacy.guard import Guard, _directions, build_guard

SIZE = 32


def smooth_images(count: int, seed: int) -> NDArray[np.float32]:
    """Unrelated pictures in [-1, 1]."""
    noise = np.random.default_rng(seed).normal(size=(count, SIZE, SIZE))
    images = np.stack([gaussian_filter(one, 2.5) for one in noise])
    return np.clip(images / (3 * images.std()), -1, 1).astype(np.float32)


def label_maps(count: int, seed: int) -> NDArray[np.uint8]:
    return np.digitize(smooth_images(count, seed), (-0.3, 0.0, 0.3)).astype(np.uint8)


@pytest.fixture(scope="module")
def guard() -> Guard:
    return build_guard(smooth_images(150, 1).astype(np.float16), smooth_images(400, 2).astype(np.float16))


@pytest.mark.parametrize(
    "changed",
    [
        lambda images: images,
        lambda images: images[:, ::-1],
        lambda images: images[:, :, ::-1],
        lambda images: np.rot90(images, axes=(1, 2)),
        lambda images: images.transpose(0, 2, 1),
        lambda images: images + np.random.default_rng(5).normal(0, 0.05, images.shape).astype(np.float32),
    ],
)
def test_copies_are_found_also_turned_round_or_noisy(guard: Guard, changed) -> None:
    assert guard.copies(changed(smooth_images(150, 1))).all()


def test_of_unseen_images_about_one_in_a_hundred_is_called_a_copy(guard: Guard) -> None:
    assert guard.copies(smooth_images(400, 2)).mean() == pytest.approx(0.01, abs=0.003)  # those of the threshold itself
    assert guard.copies(smooth_images(400, 3)).mean() < 0.04


def test_masks_are_compared_by_their_labels() -> None:
    guard = build_guard(label_maps(80, 1), label_maps(200, 2))
    nearly = label_maps(80, 1)
    nearly[:, :2, :2] = 0
    assert guard.of_masks
    assert guard.copies(nearly[:, ::-1]).all()
    assert guard.copies(label_maps(200, 3)).mean() < 0.05


def test_a_training_image_among_the_hold_out_does_not_blind_it() -> None:
    train = smooth_images(50, 1)
    guard = build_guard(train, np.concatenate([train[:10], smooth_images(20, 2)]))
    assert guard.copies(train).all()


def test_what_cannot_be_compared_is_withheld_or_refused(guard: Guard) -> None:
    broken = smooth_images(2, 9)
    broken[1, 3, 3] = np.nan
    assert list(guard.copies(broken)) == [False, True]
    assert guard.copies(broken[:0]).shape == (0,)
    with pytest.raises(DataError, match=r"expected images .* \(N, 32, 32\)"):
        guard.copies(np.zeros((2, 16, 16), np.float32))
    with pytest.raises(DataError, match="expected images"):
        guard.copies(np.zeros((2, SIZE, SIZE), np.uint8))
    with pytest.raises(DataError, match="one set is empty"):
        build_guard(smooth_images(2, 1), smooth_images(2, 1)[:0])


def test_as_bytes_it_is_the_same_and_holds_no_image(guard: Guard) -> None:
    kept = Guard.from_bytes(guard.to_bytes())
    assert guard.to_bytes() == kept.to_bytes()
    assert (kept.threshold, kept.size, kept.of_masks) == (guard.threshold, SIZE, False)
    assert kept.features.shape == (150, 512)
    assert np.array_equal(kept.copies(smooth_images(150, 1)), guard.copies(smooth_images(150, 1)))
    for broken in (b"PK\x03\x04 cut short", b"", guard.to_bytes()[:-100]):
        with pytest.raises(DataError, match="not readable as a near-copy filter"):
            Guard.from_bytes(broken)


def test_the_projection_never_changes() -> None:
    """A guard made today must know its training images with any later version of NumPy."""
    signs = np.packbits(_directions(64) > 0)
    assert hashlib.sha256(signs.tobytes()).hexdigest()[:16] == "17faf19375b41d62"
