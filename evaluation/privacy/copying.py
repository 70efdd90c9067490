"""The data-copying statistic C_T: do synthetic images lie nearer to the training images than unseen real images do?

After Meehan, Chaudhuri and Dasgupta 2020, "A non-parametric test to detect data-copying in generative models"
(AISTATS, arXiv:2004.05675), section 4.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from sklearn.cluster import KMeans

CELLS = 5  # at most; a cell needs images of both kinds, and there are few hold-out images
IMAGES_A_CELL = 20  # hold-out images that a cell should have, which sets the number of cells of a small hold-out
FEWEST = 8  # images of either kind in a cell: fewer make no normal approximation of the rank sum


@dataclass(frozen=True)
class Copying:
    """Result of the test.

    Attributes:
        c_t: mean of the cells' z-scores, weighted by their hold-out images; NaN if no cell has enough images. Strongly
            negative: the synthetic images lie nearer to training than real unseen images do (copying). About 0: as near as
            they are. Strongly positive: farther (underfitting).
        nearer: the same as a probability, which does not grow with the number of images: the share of pairs of a synthetic
            and a hold-out image of one cell in which the synthetic one is nearer to training, ties half. 0.5 for new images,
            1 for copies, 0 for images unlike any training image.
        cells: z-score of each cell that entered.
    """

    c_t: float
    nearer: float
    cells: dict[int, float]


def cells_of(train: NDArray, others: list[NDArray], count: int, seed: int) -> list[NDArray[np.intp]]:
    """Divides the space of images into cells by k-means of the training images.

    Args:
        train: (M, H, W), M at least ``count``.
        others: sets (N, H, W) to divide.

    Returns:
        For each of ``others`` the cell, 0 to count - 1, of each image.
    """
    means = KMeans(count, n_init=3, random_state=seed).fit(_flat(train))
    return [means.predict(_flat(images)).astype(np.intp) for images in others]


def cell_count(train: int, holdout: int) -> int:
    """Cells for so many training and hold-out images: at most 5, with 20 hold-out images in each on average."""
    return max(1, min(CELLS, holdout // IMAGES_A_CELL, train))


def copying_test(
    synthetic: NDArray[np.float64],
    synthetic_cells: NDArray[np.intp],
    holdout: NDArray[np.float64],
    holdout_cells: NDArray[np.intp],
) -> Copying:
    """C_T of distances to the nearest training image.

    A cell's z-score is that of the Mann-Whitney U of its synthetic against its hold-out distances,
    (U - mn/2) / sqrt(mn(m+n+1)/12), U counting the pairs in which the synthetic image is farther. It takes images as
    independent; slices of one heart are not, so -3 alone proves nothing: read the interval over patients. The distances are to
    the nearest of all training images (the authors' code takes those of the cell only), so that no copy hides behind a border.

    Args:
        synthetic: (N,) distances of the synthetic images to their nearest training image.
        holdout: (M,) the same of real images that no network has seen.
        synthetic_cells, holdout_cells: (N,) and (M,) from :func:`cells_of`. Cells with fewer than 8 images of either kind are
            left out.
    """
    scores, shares, weights = {}, [], []
    for cell in np.intersect1d(synthetic_cells, holdout_cells):
        ours, theirs = synthetic[synthetic_cells == cell], holdout[holdout_cells == cell]
        m, n = ours.size, theirs.size
        if min(m, n) < FEWEST:
            continue
        farther = float(mannwhitneyu(ours, theirs, method="asymptotic").statistic)
        scores[int(cell)] = (farther - m * n / 2) / np.sqrt(m * n * (m + n + 1) / 12)
        shares.append(1 - farther / (m * n))
        weights.append(n)
    if not scores:
        return Copying(float("nan"), float("nan"), {})
    return Copying(
        float(np.average(list(scores.values()), weights=weights)), float(np.average(shares, weights=weights)), scores
    )


def _flat(images: NDArray) -> NDArray[np.float32]:
    return images.reshape(len(images), -1).astype(np.float32, copy=False)
