"""Whom the positive control learns by heart: a network that must be found out, else the attack that finds nothing is weak."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.errors import DataError
from evaluation.privacy.membership.figures import NoMatchError, kinds_of, rows_of
from evaluation.privacy.membership.settings import ControlSettings

SLICE = ["dataset", "subject", "phase", "slice"]
"""What names a slice of a cohort."""


@dataclass(frozen=True)
class ControlDraw:
    """Patients of one dataset and vendor, as many on either side.

    Attributes:
        dataset, vendor: theirs.
        members: rows of the training index, ascending: what the control is trained on.
        nonmembers: rows of the training index.
        holdout: rows of the hold-out's index; non-members as well, where the vendor has too few other training patients.
    """

    dataset: str
    vendor: str
    members: NDArray[np.intp]
    nonmembers: NDArray[np.intp]
    holdout: NDArray[np.intp]


def draw_control(train: pd.DataFrame, holdout: pd.DataFrame, settings: ControlSettings, seed: int) -> ControlDraw:
    """Draws members and non-members of the one vendor that has the most of them.

    Non-members are training patients that the control is not shown, then patients of the hold-out, which was drawn at random
    from the same patients.

    Args:
        train, holdout: slice-store indices with ``subject``, ``dataset`` and ``vendor``.

    Raises:
        NoMatchError: no vendor has two patients for either side.
        DataError: a patient in training and hold-out, or with two vendors.
    """
    sides = [kinds_of(train, "training"), kinds_of(holdout, "hold-out")]
    if both := sorted(sides[0].keys() & sides[1].keys()):
        raise DataError(f"patients {both} are both in training and held out: draw the hold-out again")
    rng = np.random.default_rng(seed)
    people = {
        kind: [sorted(subject for subject, own in side.items() if own == kind) for side in sides]
        for kind in sorted(set(sides[0].values()))
    }
    sizes = {
        kind: min(settings.patients, len(trained), (len(trained) + len(held)) // 2) for kind, (trained, held) in people.items()
    }
    kind = max(sizes, key=lambda one: (sizes[one], len(people[one][0])))
    count = sizes[kind]
    if count < 2:
        raise NoMatchError(
            f"a positive control needs at least 2 training patients of one vendor and 2 others of it; found {count} "
            f"({', '.join(kind)})"
        )
    trained, held = (rng.permutation(side) for side in people[kind])
    others = trained[count : 2 * count]
    drawn = [
        np.sort(
            np.concatenate([np.empty(0, np.intp), *(rows_of(index, subject, settings.slices, rng) for subject in subjects)])
        )
        for index, subjects in ((train, trained[:count]), (train, others), (holdout, held[: count - len(others)]))
    ]
    dataset, vendor = kind
    return ControlDraw(dataset, vendor, *drawn)
