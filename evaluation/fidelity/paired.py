"""Synthetic slices against the real slices whose masks they were made from (paper, Table IV).

A metric of image pairs is one file with one function and one line in :data:`PAIRED`.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.fidelity.ms_ssim import ms_ssim
from evaluation.fidelity.psnr import psnr
from evaluation.fidelity.ssim import ssim
from evaluation.figure import Figure, Figures
from evaluation.images import check_masks, check_pairs, check_subjects, to_unit
from evaluation.overlap import pairwise_dice
from evaluation.statistics import IntervalSettings, bootstrap_mean

BATCH = 64
MASK_BLOCK = 256

PAIRED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ssim": ssim, "ms_ssim": ms_ssim, "psnr": psnr}
"""Each takes two (B, 1, H, W) float32 tensors in [0, 1] and returns (B,) values, one an image, each independent of the other
images in the batch."""


def paired_values(
    metric: Callable[[Tensor, Tensor], Tensor], images: NDArray[np.float32], references: NDArray[np.float32]
) -> NDArray[np.float64]:
    """One value an image.

    Args:
        metric: an entry of :data:`PAIRED`.
        images, references: (N, H, W) in [0, 1].
    """
    batches = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            rows = slice(start, start + BATCH)
            batches.append(metric(torch.from_numpy(images[rows, None]), torch.from_numpy(references[rows, None])))
    return torch.cat(batches).double().numpy() if batches else np.empty(0)


def closest_masks(masks: NDArray[np.uint8], subjects: NDArray) -> NDArray[np.intp]:
    """For each mask (N, H, W), the row of the most similar mask (mean Dice) of another patient; -1 if there is none."""
    closest = np.full(len(masks), -1, dtype=np.intp)
    for start in range(0, len(masks), MASK_BLOCK):
        rows = slice(start, start + MASK_BLOCK)
        similarity = pairwise_dice(masks[rows], masks)
        similarity[subjects[rows, None] == subjects[None]] = -1
        best = similarity.argmax(axis=1)
        closest[rows] = np.where(similarity[np.arange(len(best)), best] >= 0, best, -1)
    return closest


def paired_figures(
    real: NDArray[np.floating],
    synthetic: NDArray[np.floating],
    *,
    masks: NDArray[np.uint8] | None,
    subjects: NDArray,
    intervals: IntervalSettings,
    seed: int,
    metrics: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = PAIRED,
) -> Figures:
    """All paired metrics, and their floor: how alike two real slices of different patients with similar masks are.

    Args:
        real: (N, H, W) in [-1, 1], the test slices.
        synthetic: (N, H, W) in [-1, 1]; row i was made from the mask of real slice i. Values beyond are clipped.
        masks: (N, H, W) the masks both share; None: not known, then there is no floor.
        subjects: (N,) the patient of each slice.
        metrics: by name, alike :data:`PAIRED`.

    Returns:
        ``{METRIC: Figure, ..., "floor": {METRIC: Figure}}`` with METRIC from ``metrics``.

    Raises:
        DataError: shapes that do not fit, values that are not finite, values far outside [-1, 1].
    """
    real, synthetic = to_unit(real, "real"), to_unit(synthetic, "synthetic")
    check_pairs(real, synthetic, "real and synthetic images")
    if masks is not None:
        check_pairs(real, check_masks(masks, "paired"), "images and masks")
    patients = check_subjects(subjects, len(real), "paired images")
    figures: Figures = {
        name: bootstrap_mean(paired_values(metric, synthetic, real), patients, intervals, seed)
        for name, metric in metrics.items()
    }
    if masks is None:
        return figures | {
            "floor": dict.fromkeys(metrics, Figure.missing("the floor pairs slices by their masks: none are known"))
        }
    if np.unique(patients).size < 2:
        missing = Figure.missing("the floor compares different patients and there is only one")
        return figures | {"floor": dict.fromkeys(metrics, missing)}
    other = real[closest_masks(masks, patients)]
    floor = {
        name: bootstrap_mean(paired_values(metric, other, real), patients, intervals, seed) for name, metric in metrics.items()
    }
    return figures | {"floor": floor}
