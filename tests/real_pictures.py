"""Real slices and masks of a project, found again in pictures of any size, colour and position."""

import itertools
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cmr.labels import STRUCTURES
from cmr.store import SliceStore

ALIKE = 0.98  # correlation with a real slice from which on a picture counts as that slice
SAME_SHAPE = 0.99  # Dice with a real mask
_EVEN = 0.02  # standard deviation of a picture, black to white being 1 or 2, below which it shows nothing
_FEWEST = 24  # labelled pixels of a mask: smaller ones coincide by chance


@dataclass(frozen=True)
class _Pool:
    """The real slices of one size, P pixels.

    Attributes:
        images, squares: (N, P) grey values and their squares.
        masks: (M, 3·P) one-hot structures of the masks with at least :data:`_FEWEST` labelled pixels.
        hearts: (M, 3·P) the same masks with all structures as one.
        sizes: (M,) labelled pixels.
        named, masks_named: what each of them is.
    """

    images: NDArray[np.float32]
    squares: NDArray[np.float32]
    masks: NDArray[np.float32]
    hearts: NDArray[np.float32]
    sizes: NDArray[np.intp]
    named: list[str]
    masks_named: list[str]


class RealPictures:
    """All real slices and masks of a project, ready to be compared with.

    Args:
        subjects: the ids of the patients; rows of others in the slice stores are synthetic.
    """

    def __init__(self, root: Path, subjects: Set[str]):
        stores = {path.parent: SliceStore.open(path.parent) for path in sorted(root.glob("data/*/*/index.parquet"))}
        by_size: dict[int, list[tuple[str, Any, Any]]] = {}
        for path, store in stores.items():
            rows = np.flatnonzero(store.index["subject"].astype(str).isin(subjects))
            drawn = "generator" in store.index.columns or path.parent.name == "sets"  # of a patient's mask at most
            images = None if store.images is None or drawn else np.asarray(store.images[rows])
            for place, row in enumerate(rows):
                name = f"slice {row} of {path.relative_to(root)}"
                image = None if images is None else images[place].astype(np.float32)
                by_size.setdefault(store.size, []).append((name, image, np.asarray(store.masks[row])))
        self._pools = {size: _pool(entries) for size, entries in by_size.items()}
        assert self._pools, f"{root}: no real slices to compare with"

    def among(self, picture: NDArray) -> list[str]:
        """What of a picture, (H, W) or (H, W, 3), is real; whole, and tile by tile where it is a sheet."""
        found: list[str] = []
        for tile in _tiles(picture):
            found += self._slices_like(tile)
            for levels in _label_maps(tile):
                found += self.masks_like(levels)
        return list(dict.fromkeys(found))

    def masks_like(self, levels: NDArray[np.integer]) -> list[str]:
        """The real masks that a map of at most four levels shows, however the structures are numbered."""
        found = []
        for size, pool in self._pools.items():
            small = np.asarray(Image.fromarray(levels.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST))
            near = np.flatnonzero(np.abs(pool.sizes / max(1, np.count_nonzero(small)) - 1) < 0.05)  # others can't be that alike
            for candidate in _numberings(small) if len(near) else ():
                turned = _one_hot(_all_ways(candidate))
                alone = int(candidate.max()) == 1  # one level beside the background: a heart without its structures
                dice = _dice(turned, (pool.hearts if alone else pool.masks)[near]).max(axis=0)
                hits = np.flatnonzero(dice > SAME_SHAPE)
                found += [f"{pool.masks_named[near[hit]]}, Dice {dice[hit]:.3f}" for hit in hits]
        return list(dict.fromkeys(found))

    def _slices_like(self, tile: NDArray) -> list[str]:
        grey, plain = _grey(tile)
        if np.ptp(grey) < 1e-6 or plain.mean() < 0.6:
            return []
        grey = (grey - grey.min()) / np.ptp(grey)
        found: dict[str, float] = {}
        for size, pool in self._pools.items():
            for pixels, valid in _resized(grey, plain, size):
                ways, weights = (_all_ways(one).reshape(8, -1).astype(np.float32) for one in (pixels, valid))
                scores = np.abs(_correlation(ways, weights, pool)).max(axis=0)
                for hit in np.flatnonzero(scores > ALIKE):
                    found[pool.named[hit]] = max(found.get(pool.named[hit], 0), float(scores[hit]))
        return [f"{name}, correlation {score:.3f}" for name, score in found.items()]


def _pool(entries: list[tuple[str, Any, Any]]) -> _Pool:
    shape = entries[0][2].shape
    images = _once((name, image) for name, image, _ in entries if image is not None and image.std() > 1e-3)
    masks = _once((name, mask) for name, _, mask in entries if np.count_nonzero(mask) >= _FEWEST)
    pixels = np.array([image for _, image in images], np.float32).reshape(len(images), shape[0] * shape[1])
    labels = np.array([mask for _, mask in masks], np.uint8).reshape(len(masks), *shape)
    names = ([name for name, _ in images], [name for name, _ in masks])
    hearts = (labels > 0).astype(np.uint8)
    return _Pool(pixels, pixels**2, _one_hot(labels), _one_hot(hearts), hearts.sum(axis=(1, 2), dtype=np.intp), *names)


def _once(entries: Iterable[tuple[str, NDArray]]) -> list[tuple[str, NDArray]]:
    """Each array once: the cohort's slices are those of the datasets."""
    return list({array.tobytes(): (name, array) for name, array in entries}.values())


def _correlation(pictures: NDArray[np.float32], weights: NDArray[np.float32], pool: _Pool) -> NDArray[np.float32]:
    """(K, N) correlation of pictures (K, P) with real slices over the pixels of weight 1, of (K, P)."""
    counts = np.maximum(weights.sum(axis=1, keepdims=True), 1)
    own = (pictures - (pictures * weights).sum(axis=1, keepdims=True) / counts) * weights
    own_spread = (own**2).sum(axis=1, keepdims=True)
    spread = weights @ pool.squares.T - (weights @ pool.images.T) ** 2 / counts
    even = (own_spread < _EVEN**2 * counts) | (spread < _EVEN**2 * counts)  # what can be seen of it is of one grey
    return np.where(even, 0, own @ pool.images.T / np.sqrt(np.maximum(own_spread * spread, 1e-9)))


def _tiles(picture: NDArray) -> Iterator[NDArray]:
    """The picture, without its even margins, and the pieces between its even rows and columns, down to single tiles."""
    yield picture
    parts = [picture]
    for _ in range(4):  # sheets of sheets
        cut = [piece for part in parts for axis in (0, 1) for piece in _cut(part, axis)]
        cut = [piece for piece in cut if min(piece.shape[:2]) >= 12]
        if not cut:
            return
        yield from cut
        parts = cut if len(cut) < 400 else []


def _cut(picture: NDArray, axis: int) -> list[NDArray]:
    """The pieces between rows (or columns) of one colour, nothing where there are none such."""
    other = 1 - axis
    even = np.ptp(picture, axis=other).reshape(picture.shape[axis], -1).max(axis=1) < 2 * max(
        1e-6, float(np.ptp(picture)) / 255
    )
    if not even.any():
        return []
    edges = np.flatnonzero(np.diff(np.concatenate([[True], even, [True]]).astype(int)))
    return [np.take(picture, range(start, stop), axis=axis) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _grey(tile: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Grey values (H, W), and which pixels have no colour: outlines over a slice do."""
    if tile.ndim == 2:
        return tile.astype(np.float32), np.ones(tile.shape, dtype=bool)
    return tile.mean(axis=-1).astype(np.float32), np.ptp(tile, axis=-1) < 24


def _resized(grey: NDArray, plain: NDArray, size: int) -> Iterator[tuple[NDArray, NDArray]]:
    """A tile at the size of the real slices, in the ways in which it may have been enlarged, and its valid pixels."""
    if grey.shape == (size, size):
        yield grey, plain
        return
    ways = (Image.Resampling.NEAREST, Image.Resampling.BOX, Image.Resampling.BICUBIC)
    known = np.asarray(Image.fromarray(plain.astype(np.float32)).resize((size, size), Image.Resampling.BOX)) > 0.999
    for way in ways:
        yield np.asarray(Image.fromarray(grey).resize((size, size), way)), known


def _label_maps(tile: NDArray) -> Iterator[NDArray[np.uint8]]:
    """Maps of levels (0 the most frequent) where nearly all pixels have one of at most four colours."""
    colours = tile.reshape(-1, tile.shape[2] if tile.ndim == 3 else 1)
    values, counts = np.unique(np.round(colours / 8) if tile.ndim == 3 else colours, axis=0, return_counts=True)
    common = values[np.argsort(-counts)][:4]
    if len(values) > 1 and np.sort(counts)[::-1][:4].sum() >= 0.97 * counts.sum():
        scaled = colours / 8 if tile.ndim == 3 else colours
        distance = np.stack([np.abs(scaled - one).sum(axis=1) for one in common])
        yield distance.argmin(axis=0).reshape(tile.shape[:2]).astype(np.uint8)


def _numberings(levels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """The map with the numbers of its structures dealt in every way."""
    others = [level for level in np.unique(levels) if level]
    if np.count_nonzero(levels) < _FEWEST or not others:
        return
    for numbers in itertools.permutations(STRUCTURES.values(), len(others)) if len(others) > 1 else [(1,)]:
        table = np.zeros(256, np.uint8)
        table[others] = numbers
        yield table[levels]


def _all_ways(picture: NDArray) -> NDArray:
    """(8, S, S) the ways in which a square picture can lie."""
    turned = [np.rot90(picture, quarter) for quarter in range(4)]
    return np.stack([*turned, *(one.T for one in turned)])


def _one_hot(masks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, S, S) labels -> (N, 3·S·S)."""
    flat = masks.reshape(len(masks), -1)
    return np.concatenate([flat == label for label in STRUCTURES.values()], axis=1).astype(np.float32)


def _dice(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, M) Dice over all structures together, of one-hot masks."""
    return 2 * (one @ other.T) / np.maximum(one.sum(axis=1)[:, None] + other.sum(axis=1)[None], 1)
