"""The figures that one kind of distance gives, each with its interval over patients."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.figure import Figure, Figures
from evaluation.privacy.copying import FEWEST, Copying, copying_test
from evaluation.privacy.search import PatientDistances
from evaluation.privacy.shares import closer_share, copy_share, mean_nearest, ratio, relabelled_shares
from evaluation.statistics import IntervalSettings, deal_groups, jackknife, unanimous_interval

NO_TEST = "needs real images of further patients (the test set)"
FEW_IMAGES = f"needs {FEWEST} hold-out images, and as many of these, in a cell of similar images"
FLOORS = ("closer_to_train", "copies", "c_t", "nearer_than_holdout")


@dataclass(frozen=True)
class Unseen:
    """What was found for a set of queries among the training patients.

    Attributes:
        subjects: (N,) patient of each query.
        train: distances to the training patients.
        cells: (N,) cell of each query, for C_T; None where that is not asked for.
    """

    subjects: NDArray[np.str_]
    train: PatientDistances
    cells: NDArray[np.intp] | None


@dataclass(frozen=True)
class Found(Unseen):
    """The same, and ``holdout``: distances to the hold-out patients."""

    holdout: PatientDistances


@dataclass(frozen=True)
class Search:
    """All that was found by one kind of distance.

    Attributes:
        synthetic, test: of these images; ``test`` is None without such images.
        unseen: of the hold-out images.
        train_vendors, holdout_vendors: (P,) vendor of each patient, in the order of ``synthetic.train.patients`` and of
            ``synthetic.holdout.patients``.
    """

    synthetic: Found
    test: Found | None
    unseen: Unseen
    train_vendors: NDArray[np.str_]
    holdout_vendors: NDArray[np.str_]


def near_figures(search: Search, intervals: IntervalSettings, seed: int) -> Figures:
    """``nn``, ``nn_holdout``, ``nndr``, ``nndr_paper``, and ``floor`` with ``nn``, ``nndr``, ``nndr_paper`` of the hold-out."""
    ours, unseen = search.synthetic, search.unseen
    return {
        **_to_patients(ours.train, ours.subjects, intervals, seed),
        "nn_holdout": _to_patients(ours.holdout, ours.subjects, intervals, seed)["nn"],
        "floor": _to_patients(unseen.train, unseen.subjects, intervals, seed),
    }


def leak_figures(search: Search, intervals: IntervalSettings, seed: int) -> Figures:
    """``closer_to_train`` and ``copies`` with what belongs to them, C_T where there are cells, ``floor`` of the test images."""
    figures = _leak_figures(search.synthetic, search, intervals, seed)
    draws = _draws(search, intervals, seed)
    observed = figures["closer_to_train"].value
    if observed is not None:
        low, high = np.quantile(draws, [(1 - intervals.confidence) / 2, (1 + intervals.confidence) / 2])
        null = Figure(float(draws.mean()), float(low), float(high), figures["closer_to_train"].n)
        p_value = Figure((1 + np.count_nonzero(draws >= observed - 1e-12)) / (1 + draws.size), n=null.n)
    else:
        null = p_value = figures["closer_to_train"]
    figures |= {"closer_to_train_null": null, "closer_to_train_p_value": p_value}
    if search.test is None:
        missing = Figure.missing(NO_TEST)
        return figures | {
            "closer_to_train_over_floor": missing,
            "floor": {name: missing for name in FLOORS if name in figures},
        }
    floor = _leak_figures(search.test, search, intervals, seed)
    return figures | {
        "closer_to_train_over_floor": _over_floor(search, search.test, intervals, seed),
        "floor": {name: floor[name] for name in FLOORS if name in floor},
    }


def _leak_figures(ours: Found, search: Search, intervals: IntervalSettings, seed: int) -> Figures:
    groups = deal_groups([ours.train.patients, ours.holdout.patients, ours.subjects], seed)
    n, units = ours.subjects.size, np.unique(ours.subjects).size

    def share(figure: Figure) -> Figure:
        """A share on which all images agree would get an interval without width; see :func:`unanimous_interval`."""
        if figure.ci_low is None or figure.value not in (0.0, 1.0) or figure.ci_low != figure.ci_high:
            return figure
        low, high = unanimous_interval(figure.value, units, intervals)
        return Figure(figure.value, low, high, figure.n)

    def copied(left_out: NDArray) -> float:
        return copy_share(*(_without(one.train, one.subjects, left_out) for one in (ours, search.unseen)))

    def closer(left_out: NDArray) -> float:
        return _closer(ours, search, left_out)

    figures: Figures = {
        "closer_to_train": share(jackknife(closer, groups, n=n, settings=intervals, limits=(0, 1))),
        "copies": share(jackknife(copied, groups, n=n, settings=intervals, limits=(0, 1))),
    }
    if ours.cells is None or search.unseen.cells is None:
        return figures
    whole = _copying(ours, search.unseen, groups[0][0][:0])
    if not whole.cells:
        return figures | {name: Figure.missing(FEW_IMAGES) for name in ("c_t", "nearer_than_holdout")} | {"c_t_cells": {}}
    c_t = jackknife(lambda left_out: _copying(ours, search.unseen, left_out).c_t, groups, n=n, settings=intervals)
    nearer = jackknife(
        lambda left_out: _copying(ours, search.unseen, left_out).nearer, groups, n=n, settings=intervals, limits=(0, 1)
    )
    cells = {f"cell-{cell}": Figure(z, n=int(np.sum(ours.cells == cell))) for cell, z in whole.cells.items()}
    return figures | {"c_t": c_t, "nearer_than_holdout": share(nearer), "c_t_cells": cells}


def _over_floor(search: Search, test: Found, intervals: IntervalSettings, seed: int) -> Figure:
    ours = search.synthetic
    groups = deal_groups([ours.train.patients, ours.holdout.patients, test.subjects, ours.subjects], seed)

    def difference(left_out: NDArray) -> float:
        return _closer(ours, search, left_out) - _closer(test, search, left_out)

    return jackknife(difference, groups, n=ours.subjects.size, settings=intervals, limits=(-1, 1))


def _draws(search: Search, intervals: IntervalSettings, seed: int) -> NDArray[np.float64]:
    ours = search.synthetic
    vendors = search.train_vendors, search.holdout_vendors
    return relabelled_shares(ours.train.nearest, ours.holdout.nearest, *vendors, draws=intervals.permutations, seed=seed)


def _closer(ours: Found, search: Search, left_out: NDArray) -> float:
    return closer_share(
        _without(ours.train, ours.subjects, left_out),
        _without(ours.holdout, ours.subjects, left_out),
        search.train_vendors[~np.isin(ours.train.patients, left_out)],
        search.holdout_vendors[~np.isin(ours.holdout.patients, left_out)],
    )


def _copying(ours: Unseen, unseen: Unseen, left_out: NDArray) -> Copying:
    sides: list[NDArray] = []
    for one in (ours, unseen):
        assert one.cells is not None
        distances = _without(one.train, one.subjects, left_out)
        cells = one.cells[~np.isin(one.subjects, left_out)]
        if not distances.size:
            return Copying(float("nan"), float("nan"), {})
        sides += [distances.min(axis=0), cells]
    return copying_test(*sides)


def _to_patients(found: PatientDistances, subjects: NDArray[np.str_], intervals: IntervalSettings, seed: int) -> Figures:
    """Figures of queries (``subjects`` are their patients) against one set of patients."""
    groups = deal_groups([found.patients, subjects], seed)

    def second(left_out: NDArray) -> NDArray[np.float64]:
        return found.second[~np.isin(found.patients, left_out)][:, ~np.isin(subjects, left_out)]

    statistics = {
        "nn": lambda left_out: mean_nearest(_without(found, subjects, left_out)),
        "nndr": lambda left_out: ratio(_without(found, subjects, left_out)),
        "nndr_paper": lambda left_out: ratio(_without(found, subjects, left_out), second(left_out)),
    }
    ranges = {"nn": (0.0, np.inf), "nndr": (0.0, 1.0), "nndr_paper": (0.0, 1.0)}
    return {
        name: jackknife(statistic, groups, n=subjects.size, settings=intervals, limits=ranges[name])
        for name, statistic in statistics.items()
    }


def _without(found: PatientDistances, subjects: NDArray[np.str_], left_out: NDArray) -> NDArray[np.float64]:
    """(P, N) distances without some patients, be they sought or seeking."""
    return found.nearest[~np.isin(found.patients, left_out)][:, ~np.isin(subjects, left_out)]
