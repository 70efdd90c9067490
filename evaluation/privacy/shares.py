"""The neighbour figures as functions of patient distances; (P, N) arrays hold P patients and N queries throughout."""

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
    train: NDArray[np.float64], holdout: NDArray[np.float64], train_vendors: NDArray, holdout_vendors: NDArray
) -> float:
    """How much more often a training patient is the nearest than a hold-out patient, each set given the same weight.

    Every query votes for its nearest patient. With T and H the votes a patient (mean over the patients of a set), the share is
    T / (T + H): 0.5 where training patients draw no more votes than hold-out patients do, 1 where all votes go to training
    patients, 0 where all go to the hold-out. Counting votes a patient, and not queries, is what makes sets of different size
    comparable: the larger set has the nearer neighbour by chance alone. The same is done within each vendor, with the weight
    of as many patients as the smaller set has; patients of a vendor that only one set has are left out.

    Drawing the training patients down to the hold-out's size at random aims at the same 0.5, but a copy of a patient who was
    not drawn goes unseen: with 30 against 12 patients, copies and nothing else gave 0.71 on real data. This share gives 1.

    Args:
        train, holdout: (P, N) and (Q, N) distances of the queries to the patients.
        train_vendors, holdout_vendors: (P,) and (Q,) vendor of each patient.

    Returns:
        0 to 1; NaN without queries or if no vendor has patients in both sets.
    """
    return _share(*_votes(train, holdout, train_vendors, holdout_vendors))


def relabelled_shares(
    train: NDArray[np.float64],
    holdout: NDArray[np.float64],
    train_vendors: NDArray,
    holdout_vendors: NDArray,
    *,
    draws: int,
    seed: int,
) -> NDArray[np.float64]:
    """What :func:`closer_share` would have been, had the hold-out been drawn differently: (draws,).

    Few patients attract many images (a plain, typical heart is everybody's neighbour), and which side they were drawn to moves
    the share far from 0.5 without any memory. The hold-out was drawn at random, so each other draw of as many patients of each
    vendor was as likely; images that do not depend on the draw are then at home anywhere in this distribution (a randomisation
    test, exact for any number of patients).
    """
    votes, trained, vendors = _votes(train, holdout, train_vendors, holdout_vendors)
    rng = np.random.default_rng(seed)
    shares = np.empty(draws)
    for draw in range(draws):
        drawn = trained.copy()
        for vendor in np.unique(vendors):
            drawn[vendors == vendor] = rng.permutation(trained[vendors == vendor])
        shares[draw] = _share(votes, drawn, vendors)
    return shares


def _votes(
    train: NDArray[np.float64], holdout: NDArray[np.float64], train_vendors: NDArray, holdout_vendors: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray]:
    """Votes of each patient of a vendor that both sets have, whether it is a training patient, and its vendor."""
    vendors = np.concatenate([train_vendors, holdout_vendors])
    shared = np.isin(vendors, np.intersect1d(train_vendors, holdout_vendors))
    distances = np.concatenate([train, holdout])[shared]
    trained = (np.arange(vendors.size) < len(train))[shared]
    if not distances.size:
        return np.zeros(len(distances)), trained, vendors[shared]
    nearest = distances == distances.min(axis=0)
    return (nearest / nearest.sum(axis=0)).sum(axis=1), trained, vendors[shared]  # patients equally near share a vote


def _share(votes: NDArray[np.float64], trained: NDArray[np.bool_], vendors: NDArray) -> float:
    sides = [0.0, 0.0]
    for vendor in np.unique(vendors):
        members = [(vendors == vendor) & side for side in (trained, ~trained)]
        weight = min(np.count_nonzero(one) for one in members)
        for side, one in enumerate(members):
            sides[side] += weight * float(votes[one].mean())
    return sides[0] / sum(sides) if sum(sides) else float("nan")


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
