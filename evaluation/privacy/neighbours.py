"""Nearest-neighbour figures: do synthetic images lie nearer to the patients trained on than to patients never seen?

After the paper, section III-C4a and Table VI, with the hold-out patients as the measure of what "near" means.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.errors import DataError
from evaluation.figure import Figure, Figures
from evaluation.images import check_masks, check_subjects, to_unit
from evaluation.privacy.augmented import TRANSFORMS, augmented_distances
from evaluation.privacy.copying import cell_count, cells_of
from evaluation.privacy.figures import Found, Search, Unseen, leak_figures, near_figures
from evaluation.privacy.search import (
    PatientDistances,
    dice_distance,
    image_distance,
    mask_distance,
    paired_squared_distance,
    patient_distances,
    squared_distance,
)
from evaluation.statistics import IntervalSettings, bootstrap_mean

Features = Callable[[NDArray, Path], NDArray]
"""Images (N, H, W) in [-1, 1] and a file to features (N, D), memory-mapped from that file, such as
:meth:`evaluation.networks.lpips.LpipsNetwork.features`."""

Find = Callable[[NDArray, NDArray, NDArray[np.str_]], PatientDistances]
SAID = {"synthetic": "synthetic", "train": "training", "holdout": "hold-out", "test": "test"}


@dataclass(frozen=True)
class NeighbourSettings:
    """How the neighbours are searched.

    Attributes:
        block: images compared at once; memory against nothing else.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    block: int

    def __post_init__(self) -> None:
        if self.block < 1:
            raise DataError(f"privacy.neighbours: block={self.block}; expected at least 1")


@dataclass(frozen=True)
class Cohort:
    """Real images or masks of some patients.

    Attributes:
        arrays: (N, H, W) images in [-1, 1] or masks with labels 0-3.
        subjects, vendors: (N,) patient and vendor of each.
    """

    arrays: NDArray
    subjects: NDArray
    vendors: NDArray


@dataclass(frozen=True)
class Sets:
    """The sets ``synthetic``, ``train``, ``holdout`` and, where there are further real images, ``test``.

    Attributes:
        arrays: (N, H, W) images in [0, 1] or masks, or (N, D) features.
        subjects: (N,) patient of each row.
        vendors: of the real sets: (P,) vendor of each patient, in the order of their names.
        cells: (N,) cell of each row, see :mod:`evaluation.privacy.copying`; empty where C_T is not asked for.
    """

    arrays: dict[str, NDArray]
    subjects: dict[str, NDArray[np.str_]]
    vendors: dict[str, NDArray[np.str_]]
    cells: dict[str, NDArray[np.intp]]


def neighbour_figures(
    synthetic: NDArray,
    synthetic_subjects: NDArray,
    train: Cohort,
    holdout: Cohort,
    *,
    test: Cohort | None = None,
    lpips: Features | str = "no LPIPS features were given",
    settings: NeighbourSettings,
    intervals: IntervalSettings,
    seed: int,
) -> tuple[Figures, pd.DataFrame]:
    """Figures of synthetic images; L2 distances are Euclidean norms over the [0, 1] pixels of an image.

    Args:
        synthetic: (N, H, W) in [-1, 1].
        synthetic_subjects: (N,) the patient whose mask an image was made from; a name of its own for each image from a
            synthetic mask (Full-Syn, the headline).
        train: what the generator was trained on.
        holdout: patients that no network has seen, drawn at random from the same ones as the training patients.
        test: real images of further patients, for the floors: what images show that cannot have been remembered.
        lpips: features whose squared Euclidean distance is LPIPS; computed once an image and kept in temporary files (4 MB an
            image of 128 pixels; the environment variable TMPDIR moves them). A text says why there are none.

    Returns:
        The figures, described in docs/metrics.md, and the closest pairs.

        ``nn_l2``, ``nn_l2_holdout``, ``nndr``, ``nndr_paper`` (second neighbour from any patient); ``closer_to_train`` with
        ``_null`` (value and interval: what other draws of the hold-out would have given), ``_p_value`` (one-sided, of these
        draws) and ``_over_floor`` (less the test images' share); ``copies``; ``c_t``, ``nearer_than_holdout``, ``c_t_cells``;
        ``floor`` with ``nn_l2``, ``nndr``, ``nndr_paper`` of the hold-out images and ``closer_to_train``, ``copies``, ``c_t``,
        ``nearer_than_holdout`` of the test images.

        ``augmented`` has ``closer_to_train`` to ``floor`` again, with flipped and rotated training (and hold-out) images as
        neighbours. ``lpips`` has them, and ``nndr``, by LPIPS; beside it ``nn_lpips``, ``nn_lpips_holdout``, ``nn_lpips_paper``
        (LPIPS to the L2-nearest image) and ``floor.nn_lpips``.

        Pairs: one row a synthetic image, nearest to training first: ``synthetic``, ``train``, ``holdout`` (row numbers),
        ``train_distance``, ``holdout_distance``, and for the nearest transformed training image ``augmented_train``,
        ``transform``, ``augmented_distance`` (within the inscribed disc).

        Intervals: delete-a-group jackknife over all patients: the training patients, the hold-out, the test patients and the
        images of Full-Syn, which count as a patient each; a patient left out takes along the images made from its masks.

    Raises:
        DataError: shapes, ranges or names that do not fit, an empty set, one patient in two of the real sets.
    """
    sets = _with_cells(_checked(synthetic, synthetic_subjects, train, holdout, test, to_unit), seed)
    by_l2 = _search(sets, partial(patient_distances, distance=image_distance, block=settings.block))
    turned = _search(sets, partial(augmented_distances, block=settings.block))
    figures = _pixel_figures(by_l2, intervals, seed) | {"augmented": leak_figures(turned, intervals, seed)}
    of_lpips = (
        _missing(lpips) if isinstance(lpips, str) else _lpips_figures(lpips, sets, by_l2, settings.block, intervals, seed)
    )
    figures["floor"] |= of_lpips.pop("floor")
    return figures | of_lpips, _pairs(by_l2, turned, len(train.arrays))


def mask_neighbour_figures(
    synthetic: NDArray[np.uint8],
    synthetic_subjects: NDArray,
    train: Cohort,
    holdout: Cohort,
    *,
    test: Cohort | None = None,
    settings: NeighbourSettings,
    intervals: IntervalSettings,
    seed: int,
) -> tuple[Figures, pd.DataFrame]:
    """The same as :func:`neighbour_figures` for masks (N, H, W): L2 on one-hot, and ``nn_dice``, ``nn_dice_holdout`` and
    ``floor.nn_dice``, the mean distance 1 - Dice to the mask that is nearest by it; no C_T, LPIPS or augmented neighbours."""
    sets = _checked(synthetic, synthetic_subjects, train, holdout, test, check_masks)
    by_l2, by_dice = (
        _search(sets, partial(patient_distances, distance=distance, block=settings.block))
        for distance in (mask_distance, dice_distance)
    )
    figures, dice = _pixel_figures(by_l2, intervals, seed), near_figures(by_dice, intervals, seed)
    figures["floor"]["nn_dice"] = dice["floor"]["nn"]
    return figures | {"nn_dice": dice["nn"], "nn_dice_holdout": dice["nn_holdout"]}, _pairs(by_l2)


def _checked(
    synthetic: NDArray,
    synthetic_subjects: NDArray,
    train: Cohort,
    holdout: Cohort,
    test: Cohort | None,
    check: Callable[[NDArray, str], NDArray],
) -> Sets:
    cohorts = {"train": train, "holdout": holdout} | ({"test": test} if test else {})
    arrays = {"synthetic": synthetic} | {name: cohort.arrays for name, cohort in cohorts.items()}
    for name, array in arrays.items():
        if not len(array):
            raise DataError(f"neighbour analysis: the {SAID[name]} set is empty")
        if array.shape[1:] != synthetic.shape[1:]:
            raise DataError(f"neighbour analysis: {SAID[name]} size {array.shape[1:]}; expected {synthetic.shape[1:]}")
    subjects, vendors = {"synthetic": check_subjects(synthetic_subjects, len(synthetic), "synthetic")}, {}
    for name, cohort in cohorts.items():
        subjects[name] = check_subjects(cohort.subjects, len(cohort.arrays), SAID[name])
        of_rows = check_subjects(cohort.vendors, len(cohort.arrays), f"{SAID[name]} vendors")
        vendors[name] = of_rows[np.unique(subjects[name], return_index=True)[1]]
    for one, other in combinations(cohorts, 2):
        both = np.intersect1d(subjects[one], subjects[other])
        if both.size:
            raise DataError(f"patients {both.tolist()} are in {SAID[one]} and in the {SAID[other]}: draw the splits again")
    return Sets({name: check(array, SAID[name]) for name, array in arrays.items()}, subjects, vendors, {})


def _with_cells(sets: Sets, seed: int) -> Sets:
    queries = [name for name in sets.arrays if name != "train"]
    count = cell_count(len(sets.arrays["train"]), len(sets.arrays["holdout"]))
    divided = cells_of(sets.arrays["train"], [sets.arrays[name] for name in queries], count, seed)
    return replace(sets, cells=dict(zip(queries, divided, strict=True)))


def _search(sets: Sets, find: Find) -> Search:
    def to(queries: str, cohort: str) -> PatientDistances:
        return find(sets.arrays[queries], sets.arrays[cohort], sets.subjects[cohort])

    def unseen(queries: str) -> Unseen:
        return Unseen(sets.subjects[queries], to(queries, "train"), sets.cells.get(queries))

    def found(queries: str) -> Found:
        return Found(sets.subjects[queries], to(queries, "train"), sets.cells.get(queries), to(queries, "holdout"))

    test = found("test") if "test" in sets.arrays else None
    return Search(found("synthetic"), test, unseen("holdout"), sets.vendors["train"], sets.vendors["holdout"])


def _pixel_figures(search: Search, intervals: IntervalSettings, seed: int) -> Figures:
    near, leak = near_figures(search, intervals, seed), leak_figures(search, intervals, seed)
    near["nn_l2"], near["nn_l2_holdout"] = near.pop("nn"), near.pop("nn_holdout")
    near["floor"]["nn_l2"] = near["floor"].pop("nn")
    return near | leak | {"floor": near["floor"] | leak["floor"]}


def _lpips_figures(lpips: Features, sets: Sets, by_l2: Search, block: int, intervals: IntervalSettings, seed: int) -> Figures:
    with TemporaryDirectory(prefix="syncmri-lpips-") as folder:
        features = {name: lpips(images * 2 - 1, Path(folder) / f"{name}.npy") for name, images in sets.arrays.items()}
        by_lpips = _search(replace(sets, arrays=features), partial(patient_distances, distance=squared_distance, block=block))
        of_l2_nearest = paired_squared_distance(features["synthetic"], features["train"], by_l2.synthetic.train.nearest_row())
    near, leak = near_figures(by_lpips, intervals, seed), leak_figures(by_lpips, intervals, seed)
    return {
        "nn_lpips": near["nn"],
        "nn_lpips_holdout": near["nn_holdout"],
        # The training patients are fixed here: without one of them, other images would be the L2-nearest ones.
        "nn_lpips_paper": bootstrap_mean(of_l2_nearest, by_l2.synthetic.subjects, intervals, seed),
        "lpips": {"nndr": near["nndr"], **leak, "floor": {"nndr": near["floor"]["nndr"], **leak["floor"]}},
        "floor": {"nn_lpips": near["floor"]["nn"]},
    }


def _missing(reason: str) -> Figures:
    names = ("nn_lpips", "nn_lpips_holdout", "nn_lpips_paper")
    return {name: Figure.missing(reason) for name in names} | {"floor": {"nn_lpips": Figure.missing(reason)}}


def _pairs(search: Search, turned: Search | None = None, training_images: int = 0) -> pd.DataFrame:
    ours, rows = search.synthetic, np.arange(search.synthetic.subjects.size)
    columns: dict[str, NDArray] = {"synthetic": rows}
    for name, found in (("train", ours.train), ("holdout", ours.holdout)):
        columns |= {name: found.nearest_row(), f"{name}_distance": found.nearest.min(axis=0)}
    if turned:
        train = turned.synthetic.train
        transform, columns["augmented_train"] = np.divmod(train.nearest_row(), training_images)
        columns |= {"transform": np.array(TRANSFORMS)[transform], "augmented_distance": train.nearest.min(axis=0)}
    return pd.DataFrame(columns).sort_values("train_distance", kind="stable", ignore_index=True)
