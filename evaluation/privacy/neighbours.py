"""Nearest-neighbour figures: do synthetic images lie nearer to the patients trained on than to patients never seen?

After the paper, section III-C4a and Table VI, with the hold-out patients as the measure of what "near" means.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.errors import DataError
from evaluation.figure import Figure, Figures
from evaluation.images import check_masks, check_subjects, to_unit
from evaluation.privacy.search import (
    Distance,
    PatientDistances,
    dice_distance,
    image_distance,
    mask_distance,
    patient_distances,
)
from evaluation.privacy.shares import closer_share, copy_share, full_leak_share, mean_nearest, ratio
from evaluation.statistics import IntervalSettings, deal_groups, jackknife, unanimous_interval


@dataclass(frozen=True)
class NeighbourSettings:
    """How the neighbours are searched.

    Attributes:
        repeats: random subsamples of the training patients to the size of the hold-out.
        block: images compared at once; memory against nothing else.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    repeats: int
    block: int

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.block < 1:
            raise DataError(f"privacy.neighbours: repeats={self.repeats}, block={self.block}; expected at least 1")


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
class Search:
    """The searches that all figures are made of, and who is who.

    Attributes:
        train, holdout: distances of the synthetic images to the training and the hold-out patients.
        between: distances of the hold-out images to the training patients.
        synthetic_subjects, holdout_subjects: (N,) patient of each query.
        train_vendors, holdout_vendors: (P,) vendor of each patient, in the order of ``train.patients``, ``holdout.patients``.
    """

    train: PatientDistances
    holdout: PatientDistances
    between: PatientDistances
    synthetic_subjects: NDArray[np.str_]
    holdout_subjects: NDArray[np.str_]
    train_vendors: NDArray[np.str_]
    holdout_vendors: NDArray[np.str_]


def neighbour_figures(
    synthetic: NDArray,
    synthetic_subjects: NDArray,
    train: Cohort,
    holdout: Cohort,
    *,
    settings: NeighbourSettings,
    intervals: IntervalSettings,
    seed: int,
) -> tuple[Figures, pd.DataFrame]:
    """Figures of synthetic images; distances are Euclidean norms over the [0, 1] pixels of an image.

    Args:
        synthetic: (N, H, W) in [-1, 1].
        synthetic_subjects: (N,) the patient whose mask an image was made from; a name of its own for each image from a
            synthetic mask (Full-Syn, the headline).
        train: what the generator was trained on.
        holdout: patients that no network has seen.

    Returns:
        The figures ``nn_l2``, ``nndr``, ``nndr_paper`` (second neighbour from any patient), ``nn_l2_holdout``,
        ``closer_to_train``, ``closer_to_train_full_leak`` (what plain copies would give), ``copies``, and ``floor`` with
        ``nn_l2``, ``nndr``, ``nndr_paper`` of the hold-out images; and the closest pairs: one row a synthetic image, nearest
        to training first, columns ``synthetic``, ``train``, ``holdout`` (row numbers), ``train_distance``,
        ``holdout_distance``.

        Intervals: delete-a-group jackknife over all patients: the training patients, the hold-out and the images of
        Full-Syn, which count as a patient each; a patient left out takes along the images made from its masks.

    Raises:
        DataError: shapes, ranges or names that do not fit, an empty set, one patient in training and hold-out.
    """
    images = to_unit(synthetic, "synthetic")
    cohorts = [
        Cohort(to_unit(cohort.arrays, name), cohort.subjects, cohort.vendors)
        for name, cohort in (("training", train), ("hold-out", holdout))
    ]
    search = _search(images, synthetic_subjects, cohorts[0], cohorts[1], image_distance, settings.block)
    return _figures(search, settings, intervals, seed), _pairs(search)


def mask_neighbour_figures(
    synthetic: NDArray[np.uint8],
    synthetic_subjects: NDArray,
    train: Cohort,
    holdout: Cohort,
    *,
    settings: NeighbourSettings,
    intervals: IntervalSettings,
    seed: int,
) -> tuple[Figures, pd.DataFrame]:
    """The same as :func:`neighbour_figures` for masks (N, H, W): L2 on one-hot, and ``nn_dice``, ``nn_dice_holdout`` and
    ``floor.nn_dice``, the mean distance 1 - Dice to the mask that is nearest by it."""
    masks = check_masks(synthetic, "synthetic")
    for name, cohort in (("training", train), ("hold-out", holdout)):
        check_masks(cohort.arrays, name)
    search = _search(masks, synthetic_subjects, train, holdout, mask_distance, settings.block)
    figures = _figures(search, settings, intervals, seed)
    by_dice = _search(masks, synthetic_subjects, train, holdout, dice_distance, settings.block)
    for target, source in (("nn_dice", "nn_l2"), ("nn_dice_holdout", "nn_l2_holdout")):
        figures[target] = _nearest_figures(by_dice, intervals, seed)[source]
    figures["floor"]["nn_dice"] = _floor_figures(by_dice, intervals, seed)["nn_l2"]
    return figures, _pairs(search)


def _search(
    synthetic: NDArray, synthetic_subjects: NDArray, train: Cohort, holdout: Cohort, distance: Distance, block: int
) -> Search:
    _check_sizes(synthetic, train, holdout)
    names = check_subjects(synthetic_subjects, len(synthetic), "synthetic")
    train_names = check_subjects(train.subjects, len(train.arrays), "training")
    holdout_names = check_subjects(holdout.subjects, len(holdout.arrays), "hold-out")
    both = np.intersect1d(train_names, holdout_names)
    if both.size:
        raise DataError(f"patients {both.tolist()} are in training and in the hold-out: draw the hold-out again")

    def to(queries: NDArray, cohort: Cohort, cohort_names: NDArray[np.str_]) -> PatientDistances:
        return patient_distances(queries, cohort.arrays, cohort_names, distance=distance, block=block)

    return Search(
        to(synthetic, train, train_names),
        to(synthetic, holdout, holdout_names),
        to(holdout.arrays, train, train_names),
        names,
        holdout_names,
        _vendor_of_patients(train, train_names, "training"),
        _vendor_of_patients(holdout, holdout_names, "hold-out"),
    )


def _check_sizes(synthetic: NDArray, train: Cohort, holdout: Cohort) -> None:
    for name, arrays in (("synthetic", synthetic), ("training", train.arrays), ("hold-out", holdout.arrays)):
        if not len(arrays):
            raise DataError(f"neighbour analysis: the {name} set is empty")
        if arrays.shape[1:] != synthetic.shape[1:]:
            raise DataError(f"neighbour analysis: {name} size {arrays.shape[1:]}; expected {synthetic.shape[1:]}")


def _vendor_of_patients(cohort: Cohort, names: NDArray[np.str_], name: str) -> NDArray[np.str_]:
    vendors = check_subjects(cohort.vendors, len(cohort.arrays), f"{name} vendors")
    return vendors[np.unique(names, return_index=True)[1]]


def _figures(search: Search, settings: NeighbourSettings, intervals: IntervalSettings, seed: int) -> Figures:
    strata = [search.train.patients, search.holdout.patients, search.synthetic_subjects]
    groups = deal_groups(strata, seed)
    count = search.synthetic_subjects.size
    # One order of the patients for each repeat, kept while patients are left out: the jackknife sees the patients' effect
    # and not that of another draw.
    rng = np.random.default_rng(seed)
    lots = [rng.random((settings.repeats, patients.size)) for patients in strata[:2]]

    def closer(left_out: NDArray) -> float:
        keep_queries, keep_train, keep_holdout = (~np.isin(stratum, left_out) for stratum in (strata[2], strata[0], strata[1]))
        return closer_share(
            search.train.nearest[keep_train][:, keep_queries],
            search.holdout.nearest[keep_holdout][:, keep_queries],
            search.train_vendors[keep_train],
            search.holdout_vendors[keep_holdout],
            lots[0][:, keep_train],
            lots[1][:, keep_holdout],
        )

    def copied(left_out: NDArray) -> float:
        keep_train = ~np.isin(search.train.patients, left_out)
        return copy_share(
            search.train.nearest[keep_train][:, ~np.isin(search.synthetic_subjects, left_out)],
            search.between.nearest[keep_train][:, ~np.isin(search.holdout_subjects, left_out)],
        )

    units = np.unique(search.synthetic_subjects).size
    return {
        **_nearest_figures(search, intervals, seed),
        "closer_to_train": _share(jackknife(closer, groups, n=count, settings=intervals, limits=(0, 1)), units, intervals),
        "closer_to_train_full_leak": Figure(full_leak_share(search.train_vendors, search.holdout_vendors), n=count),
        "copies": _share(jackknife(copied, groups, n=count, settings=intervals, limits=(0, 1)), units, intervals),
        "floor": _floor_figures(search, intervals, seed),
    }


def _share(figure: Figure, units: int, intervals: IntervalSettings) -> Figure:
    """A share on which all images agree would get an interval without width; see :func:`unanimous_interval`."""
    if figure.ci_low is None or figure.value not in (0.0, 1.0) or figure.ci_low != figure.ci_high:
        return figure
    low, high = unanimous_interval(figure.value, units, intervals)
    return Figure(figure.value, low, high, figure.n)


def _nearest_figures(search: Search, intervals: IntervalSettings, seed: int) -> Figures:
    figures = _to_patients(search.train, search.synthetic_subjects, intervals, seed)
    return figures | {"nn_l2_holdout": _to_patients(search.holdout, search.synthetic_subjects, intervals, seed)["nn_l2"]}


def _floor_figures(search: Search, intervals: IntervalSettings, seed: int) -> Figures:
    return _to_patients(search.between, search.holdout_subjects, intervals, seed)


def _to_patients(found: PatientDistances, subjects: NDArray[np.str_], intervals: IntervalSettings, seed: int) -> Figures:
    """Figures of queries (``subjects`` are their patients) against one set of patients."""
    groups = deal_groups([found.patients, subjects], seed)

    def without(left_out: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        keep_patients, keep_queries = ~np.isin(found.patients, left_out), ~np.isin(subjects, left_out)
        return found.nearest[keep_patients][:, keep_queries], found.second[keep_patients][:, keep_queries]

    statistics = {
        "nn_l2": lambda left_out: mean_nearest(without(left_out)[0]),
        "nndr": lambda left_out: ratio(without(left_out)[0]),
        "nndr_paper": lambda left_out: ratio(*without(left_out)),
    }
    ranges = {"nn_l2": (0.0, np.inf), "nndr": (0.0, 1.0), "nndr_paper": (0.0, 1.0)}
    return {
        name: jackknife(statistic, groups, n=subjects.size, settings=intervals, limits=ranges[name])
        for name, statistic in statistics.items()
    }


def _pairs(search: Search) -> pd.DataFrame:
    queries = np.arange(search.synthetic_subjects.size)
    columns: dict[str, NDArray] = {"synthetic": queries}
    for name, found in (("train", search.train), ("holdout", search.holdout)):
        nearest = found.nearest.argmin(axis=0)
        columns[name] = found.row[nearest, queries]
        columns[f"{name}_distance"] = found.nearest[nearest, queries]
    return pd.DataFrame(columns).sort_values("train_distance", kind="stable", ignore_index=True)
