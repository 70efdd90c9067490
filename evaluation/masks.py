"""Generated masks against real ones (paper, Table III and Fig. 4): shape distributions and anatomical validity."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.errors import DataError
from cmr.labels import STRUCTURES
from evaluation.figure import Figure, Figures
from evaluation.images import check_subjects
from evaluation.shapes import FEATURES, measure_shapes
from evaluation.statistics import (
    IntervalSettings,
    bootstrap_mean,
    bootstrap_share,
    holm,
    ks_d,
    ks_p_value,
    permutation_p_value,
)
from evaluation.validity import CHECKS, check_anatomy


@dataclass(frozen=True)
class MaskMeasures:
    """What :func:`measure_masks` found in a set of masks.

    Attributes:
        subjects: (N,) the patient of each mask; generated masks have a name each.
        shapes: see :func:`evaluation.shapes.measure_shapes`, with a column ``subject``.
        anatomy: (N rows) see :func:`evaluation.validity.check_anatomy`.
    """

    subjects: NDArray[np.str_]
    shapes: pd.DataFrame
    anatomy: pd.DataFrame


def measure_masks(masks: NDArray[np.uint8], subjects: NDArray) -> MaskMeasures:
    """Measures every mask, at about 5 ms each.

    Args:
        masks: (N, H, W) labels 0-3.
        subjects: (N,) patient of each mask.

    Raises:
        DataError: wrong shapes or labels.
    """
    names = check_subjects(subjects, len(masks), "masks")
    shapes = measure_shapes(masks)
    return MaskMeasures(names, shapes.assign(subject=names[shapes["mask"]]), check_anatomy(masks))


def mask_figures(
    real: MaskMeasures, generated: MaskMeasures, floor: MaskMeasures | None, *, intervals: IntervalSettings, seed: int
) -> Figures:
    """Compares generated with real masks.

    Args:
        real: the training masks.
        generated: the mask model's samples.
        floor: real masks of other patients (the test masks): how different from the training masks real masks are. None: no
            floor figures.

    Returns:
        ``{LV, MYO, RV}.{pixel_share, area, roundness, eccentricity, solidity}.{real, generated, floor, ks_d, p_value,
        p_value_holm, p_value_permutation, p_value_permutation_holm, floor_ks_d, floor_p_value, floor_p_value_permutation}``;
        ``present.STRUCTURE.{real, generated}``, the share of masks that show the structure (the shape figures are over
        those); ``validity.CHECK.{real, generated}``, ``valid_share`` (generated) and ``valid_share_real``.

    Raises:
        DataError: a set without any mask.
    """
    sets = {"real": real, "generated": generated} | ({"floor": floor} if floor else {})
    for name, measures in sets.items():
        if not len(measures.subjects):
            raise DataError(f"mask evaluation: the {name} set holds no masks")
    figures: Figures = {
        structure: {feature: _feature_figures(sets, structure, feature, intervals, seed) for feature in FEATURES}
        for structure in STRUCTURES
    }
    _adjust(figures, "p_value")
    _adjust(figures, "p_value_permutation")
    compared = {"real": real, "generated": generated}
    figures["present"] = {
        structure: {name: _presence(measures, structure, intervals, seed) for name, measures in compared.items()}
        for structure in STRUCTURES
    }
    figures["validity"] = {
        check: {name: _share(measures, check, intervals, seed) for name, measures in compared.items()} for check in CHECKS
    }
    return figures | {
        "valid_share": _share(generated, "valid", intervals, seed),
        "valid_share_real": _share(real, "valid", intervals, seed),
    }


def clean_up_figures(subjects: NDArray, cleaned: NDArray[np.bool_], *, intervals: IntervalSettings, seed: int) -> Figures:
    """``cleaned_share``: the share of masks (N,) that cleaning up has changed."""
    return {"cleaned_share": bootstrap_share(cleaned, subjects, intervals, seed)}


def redraw_figures(
    generated: MaskMeasures, attempts: NDArray[np.integer], *, intervals: IntervalSettings, seed: int
) -> Figures:
    """What the filter that draws invalid masks anew has done.

    Args:
        generated: the masks as kept.
        attempts: (N,) draws that each mask took; the first valid one was kept, or the last.

    Returns:
        ``valid_share_first_draw``, what ``valid_share`` would be without the filter, and the counts ``drawn_again`` and
        ``stayed_invalid``.

    Raises:
        DataError: another number of attempts than of masks.
    """
    if attempts.shape != generated.subjects.shape:
        raise DataError(f"attempts for {attempts.shape} masks, of which there are {generated.subjects.size}; sample them again")
    valid = generated.anatomy["valid"].to_numpy()
    return {
        "valid_share_first_draw": bootstrap_share(valid & (attempts == 1), generated.subjects, intervals, seed),
        "drawn_again": Figure(float((attempts > 1).sum()), n=attempts.size),
        "stayed_invalid": Figure(float((~valid).sum()), n=attempts.size),
    }


def pseudo_patients(count: int, patients: int, seed: int) -> NDArray[np.int64]:
    """Deals ``count`` independent samples into as many bundles as there are real patients.

    Permuting patients against single masks would not be fair: the sides must hold alike units. Bundles of independent masks
    beside an equal number of patients keep the permutation test's size (Janssen 1997, doi:10.1016/S0167-7152(97)00043-6).
    """
    return np.random.default_rng(seed).permutation(count) % min(patients, count)


def _feature_figures(
    sets: dict[str, MaskMeasures], structure: str, feature: str, intervals: IntervalSettings, seed: int
) -> Figures:
    tables = {name: measures.shapes.loc[measures.shapes["structure"] == structure] for name, measures in sets.items()}
    values = {name: table[feature].to_numpy(dtype=float) for name, table in tables.items()}
    subjects = {name: table["subject"].to_numpy(dtype=str) for name, table in tables.items()}
    # A sample of its own patient each has nothing to be clustered by.
    if np.unique(subjects["generated"]).size == subjects["generated"].size > 0 and subjects["real"].size:
        bundles = pseudo_patients(subjects["generated"].size, np.unique(subjects["real"]).size, seed)
    else:
        bundles = subjects["generated"]
    figures: Figures = {
        name: bootstrap_mean(values[name], subjects[name], intervals, seed)
        if values[name].size
        else Figure.missing(f"no {name} mask shows the {structure}")
        for name in sets
    }
    figures |= _tests(values, subjects["real"], "generated", bundles, intervals, seed)
    if "floor" not in sets:
        return figures
    floor = _tests(values, subjects["real"], "floor", subjects["floor"], intervals, seed)
    return figures | {f"floor_{name}": figure for name, figure in floor.items()}


def _tests(
    values: dict[str, NDArray[np.float64]],
    real_patients: NDArray,
    other: str,
    other_patients: NDArray,
    intervals: IntervalSettings,
    seed: int,
) -> Figures:
    names = ("ks_d", "p_value", "p_value_permutation")
    if not values["real"].size or not values[other].size:
        return dict.fromkeys(names, Figure.missing(f"no such structure in the real or the {other} masks"))
    n = values["real"].size + values[other].size
    permuted = permutation_p_value(values["real"], real_patients, values[other], other_patients, intervals, seed)
    return {
        "ks_d": Figure(ks_d(values["real"], values[other]), n=n),
        "p_value": Figure(ks_p_value(values["real"], values[other]), n=n),
        "p_value_permutation": Figure.missing("needs at least 2 patients a side")
        if permuted is None
        else Figure(permuted, n=n),
    }


def _adjust(figures: Figures, name: str) -> None:
    """Adds the Holm-adjusted p-values of the family of all structures and features (15 tests)."""
    tests = [figures[structure][feature] for structure in STRUCTURES for feature in FEATURES]
    known = [test for test in tests if test[name].value is not None]
    adjusted = holm([test[name].value for test in known])
    for test in tests:
        test[f"{name}_holm"] = test[name]
    for test, p_value in zip(known, adjusted, strict=True):
        test[f"{name}_holm"] = Figure(float(p_value), n=test[name].n)


def _presence(measures: MaskMeasures, structure: str, intervals: IntervalSettings, seed: int) -> Figure:
    shown = measures.shapes.loc[measures.shapes["structure"] == structure, "mask"]
    return bootstrap_share(np.isin(np.arange(len(measures.subjects)), shown), measures.subjects, intervals, seed)


def _share(measures: MaskMeasures, check: str, intervals: IntervalSettings, seed: int) -> Figure:
    return bootstrap_share(measures.anatomy[check].to_numpy(), measures.subjects, intervals, seed)
