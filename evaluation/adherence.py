"""Do images follow their masks? Read by a segmenter that was trained on real scans."""

import numpy as np
from numpy.typing import NDArray

from cmr.labels import STRUCTURES
from evaluation.figure import Figure, Figures
from evaluation.images import check_masks, check_pairs, check_subjects
from evaluation.overlap import dice
from evaluation.statistics import IntervalSettings, bootstrap_mean, bootstrap_ratio


def mask_adherence(read: NDArray[np.uint8], masks: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean Dice over the structures that a mask shows, between the mask and the segmenter's reading of its image.

    Args:
        read: (N, H, W) labels that the segmenter found in the images.
        masks: (N, H, W) labels that the images were made for.

    Returns:
        (N,) in [0, 1], 1 is best; NaN for a mask without any structure.
    """
    scores = np.full(len(masks), np.nan)
    for row, (found, wanted) in enumerate(zip(read, masks, strict=True)):
        shown = [label for label in STRUCTURES.values() if (wanted == label).any()]
        if shown:
            scores[row] = np.mean([dice(found == label, wanted == label) for label in shown])
    return scores


def adherence_figures(
    read_synthetic: NDArray[np.uint8],
    read_real: NDArray[np.uint8],
    masks: NDArray[np.uint8],
    subjects: NDArray,
    *,
    intervals: IntervalSettings,
    seed: int,
) -> Figures:
    """Mask adherence of synthetic images between its two yardsticks: the real slices of the masks, and shuffled masks.

    The same reader errs on real slices too, so theirs is the most that can be asked for; and hearts lie alike in all windows,
    so an image that ignores its mask does not score 0 but what the same images score against other patients' masks.

    Args:
        read_synthetic: (N, H, W) labels that the segmenter found in the synthetic images.
        read_real: (N, H, W) labels that it found in the real slices of the same masks.
        masks: (N, H, W) the masks. Those without any structure enter no figure.
        subjects: (N,) patient of each mask.

    Returns:
        ``mask_adherence``, ``mask_adherence_real``, ``mask_adherence_shuffled``; ``mask_adherence_ratio``, synthetic to real,
        and ``mask_adherence_over_shuffled``, synthetic minus shuffled, each with an interval of its own, for which the
        patients are resampled with both of their values.

    Raises:
        DataError: shapes that do not fit, or labels outside 0-3.
    """
    masks = check_masks(masks, "conditioning")
    check_pairs(read_synthetic, masks, "readings of the synthetic images and masks")
    check_pairs(read_real, masks, "readings of the real slices and masks")
    shown = masks.any(axis=(1, 2))
    patients = check_subjects(subjects, len(masks), "masks")[shown]
    read_synthetic, read_real, masks = (labels[shown] for labels in (read_synthetic, read_real, masks))
    synthetic, real = mask_adherence(read_synthetic, masks), mask_adherence(read_real, masks)
    figures: Figures = {
        "mask_adherence": bootstrap_mean(synthetic, patients, intervals, seed),
        "mask_adherence_real": bootstrap_mean(real, patients, intervals, seed),
        "mask_adherence_ratio": bootstrap_ratio(synthetic, real, patients, intervals, seed),
    }
    if np.unique(patients).size < 2:
        missing = Figure.missing("masks are shuffled between patients and there are fewer than 2")
        return figures | dict.fromkeys(("mask_adherence_shuffled", "mask_adherence_over_shuffled"), missing)
    shuffled = mask_adherence(read_synthetic, masks[shuffle_patients(patients, seed)])
    return figures | {
        "mask_adherence_shuffled": bootstrap_mean(shuffled, patients, intervals, seed),
        "mask_adherence_over_shuffled": bootstrap_mean(synthetic - shuffled, patients, intervals, seed),
    }


def shuffle_patients(patients: NDArray, seed: int) -> NDArray[np.intp]:
    """For each row, a random row of another patient: every patient is given the rows of one other, and gives to one other.

    Args:
        patients: (N,) patient of each row, at least two different ones.
    """
    rng = np.random.default_rng(seed)
    names, of_row = np.unique(patients, return_inverse=True)
    ring = rng.permutation(names.size)  # each gives to the next in a ring: nobody is given their own
    other = np.empty_like(ring)
    other[ring] = np.roll(ring, 1)
    given = np.empty(of_row.size, dtype=np.intp)
    for patient in range(names.size):
        taken = np.flatnonzero(of_row == patient)
        given[taken] = rng.choice(np.flatnonzero(of_row == other[patient]), taken.size)
    return given
