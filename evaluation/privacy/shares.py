"""The neighbour figures as functions of patient distances; (P, N) arrays hold P patients and N queries throughout."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

COPY_QUANTILE = 0.01


def mean_nearest(nearest: NDArray[np.float64]) -> float:
    """Mean distance of the queries to their nearest patient; NaN without patients or queries."""
    return float(nearest.min(axis=0).mean()) if nearest.size else float("nan")


def ratio(nearest: NDArray[np.float64], second: NDArray[np.float64] | None = None) -> float:
    """Mean nearest-neighbour distance ratio, first over second neighbour, 0 (a copy of one image) to 1 (nothing special).

    Without ``second``, the second neighbour is the nearest image of another patient. With it (the distances to each
    patient's second nearest image), it is the nearest other image of anybody, as in the paper: neighbouring slices of the
    same heart then hide a copy. NaN with fewer than two patients or without queries; 0/0 counts as 1.
    """
    if len(nearest) < 2 or not nearest.shape[1]:
        return float("nan")
    first, other = np.partition(nearest, 1, axis=0)[:2]
    if second is not None:
        owner = nearest.argmin(axis=0)
        other = np.minimum(other, second[owner, np.arange(owner.size)])
    return float(np.divide(first, other, out=np.ones_like(first), where=other > 0).mean())


def closer_share(
    train: NDArray[np.float64],
    holdout: NDArray[np.float64],
    train_vendors: NDArray,
    holdout_vendors: NDArray,
    train_lots: NDArray[np.float64],
    holdout_lots: NDArray[np.float64],
) -> float:
    """Share of the queries nearer to a training patient than to any hold-out patient, ties counted half; 0.5 is ideal.

    The larger set has the nearer neighbour by chance alone. So for each repeat as many training as hold-out patients of each
    vendor are drawn: those with the lowest lots ((R, P) random numbers, a row a repeat). NaN if no vendor has both.
    """
    shares = []
    for lots in zip(train_lots, holdout_lots, strict=True):
        drawn_train, drawn_holdout = _draw(train_vendors, holdout_vendors, *lots)
        if not drawn_train.size or not train.shape[1]:
            return float("nan")
        to_train, to_holdout = train[drawn_train].min(axis=0), holdout[drawn_holdout].min(axis=0)
        shares.append(float(((to_train < to_holdout) + 0.5 * (to_train == to_holdout)).mean()))
    return float(np.mean(shares))


def full_leak_share(train_vendors: NDArray, holdout_vendors: NDArray) -> float:
    """What :func:`closer_share` would be if every query were a copy of a training image.

    A copied patient is drawn with the probability drawn / patients; otherwise the image is nearer to either by chance.
    """
    drawn = sum(size for _, size in _matched(train_vendors, holdout_vendors))
    return (1 + drawn / train_vendors.size) / 2


def copy_share(train: NDArray[np.float64], between: NDArray[np.float64]) -> float:
    """Share of the queries nearer to training than all but 1 % of the hold-out images are; expected 0.01.

    Both distances are to the same, complete training set, so its size favours neither. The percentile is the Weibull one,
    which new images of the hold-out's kind undercut with that probability also when they are few; below 99 hold-out images
    it is their smallest distance, and the expected share 1 / (images + 1).

    Args:
        train: (P, N) distances of the queries to the training patients.
        between: (P, M) distances of the hold-out images to the training patients.
    """
    if not train.size or not between.size:
        return float("nan")
    threshold = np.quantile(between.min(axis=0), COPY_QUANTILE, method="weibull")
    return float((train.min(axis=0) < threshold).mean())


def _matched(train_vendors: NDArray, holdout_vendors: NDArray) -> Iterator[tuple[str, int]]:
    for vendor in np.unique(holdout_vendors):
        yield str(vendor), int(min(np.sum(train_vendors == vendor), np.sum(holdout_vendors == vendor)))


def _draw(
    train_vendors: NDArray, holdout_vendors: NDArray, train_lots: NDArray[np.float64], holdout_lots: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Equally many patients of each vendor from both sides."""
    drawn: tuple[list[NDArray[np.intp]], list[NDArray[np.intp]]] = ([], [])
    for vendor, size in _matched(train_vendors, holdout_vendors):
        for side, vendors, lots in ((0, train_vendors, train_lots), (1, holdout_vendors, holdout_lots)):
            of_vendor = np.flatnonzero(vendors == vendor)
            drawn[side].append(of_vendor[np.argsort(lots[of_vendor])[:size]])
    empty = [np.empty(0, dtype=np.intp)]
    return np.concatenate(drawn[0] or empty), np.concatenate(drawn[1] or empty)
