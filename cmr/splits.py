"""Which patient is for training, validation, testing, or held out for the privacy tests."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from cmr.errors import DataError

_LEFT_TO_TRAIN = 2  # one patient alone makes no training set


@dataclass(frozen=True)
class SplitSettings:
    """``validation_share``: share of the testing patients that becomes the validation set of a dataset without one."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    validation_share: float

    def __post_init__(self) -> None:
        if not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share is {self.validation_share:g}; a number between 0 and 1 was expected")


@dataclass(frozen=True)
class HoldoutSettings:
    """The hold-out has ``share`` of the training patients, and at least ``minimum_patients``."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    share: float
    minimum_patients: int

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share:g}; a number between 0 and 1 was expected")
        if self.minimum_patients < 1:
            raise ValueError(f"minimum_patients is {self.minimum_patients}; at least 1 was expected")


def assign_splits(
    manifest: pd.DataFrame, *, settings: SplitSettings, holdout: HoldoutSettings | None, seed: int
) -> dict[str, str]:
    """Give every subject that is no duplicate one of ``"train"``, ``"val"``, ``"test"``, ``"holdout"``.

    The official validation part is the validation set where there is one (M&Ms); else a share of the testing patients is, as
    in the paper's code for ACDC. Patients are drawn in the order of a seeded hash of their names, so that a patient added
    later moves few others.

    Args:
        manifest: from :func:`cmr.ingest.ingest`, one dataset.
        holdout: None for a dataset that no generator trains on.
        seed: another seed draws other patients.

    Returns:
        Subject id -> split, sorted by id.

    Raises:
        DataError: too few training patients for the hold-out.
    """
    patients = manifest[manifest["duplicate_of"] == ""].drop_duplicates("subject")
    parts = {part: patients[patients["part"] == part] for part in ("training", "validation", "testing")}
    train, val, test = (set(parts[part]["subject"]) for part in parts)
    if not val:
        val = _draw(test, _validation_size(len(test), settings.validation_share), f"{seed} validation")
    held_out = _draw_holdout(parts["training"], holdout, seed) if holdout else set()
    splits = {"train": train - held_out, "val": val, "test": test - val, "holdout": held_out}
    return dict(sorted((subject, split) for split in splits for subject in splits[split]))


def _validation_size(testing: int, share: float) -> int:
    """Rounded, but neither validation nor test is left empty where there are two patients."""
    return min(max(round(share * testing), 1), testing - 1) if testing > 1 else 0


def _draw_holdout(training: pd.DataFrame, holdout: HoldoutSettings, seed: int) -> set[str]:
    size = max(round(holdout.share * len(training)), holdout.minimum_patients)
    if len(training) - size < _LEFT_TO_TRAIN:
        raise DataError(
            f"{len(training)} training patients are too few: the hold-out of the privacy tests takes {size} of them (share "
            f"{holdout.share:g}, at least {holdout.minimum_patients}), and at least {_LEFT_TO_TRAIN} must be left to train on. "
            "Lower privacy.holdout.minimum_patients or privacy.holdout.share, or add patients."
        )
    strata = {f"{vendor} {centre}": set(group["subject"]) for (vendor, centre), group in training.groupby(["vendor", "centre"])}
    sizes = _proportional({name: len(subjects) for name, subjects in strata.items()}, size)
    return {subject for name in strata for subject in _draw(strata[name], sizes[name], f"{seed} holdout")}


def _proportional(strata: dict[str, int], size: int) -> dict[str, int]:
    """Share ``size`` out in proportion, by largest remainder (Hamilton's method); the larger stratum wins a tie."""
    total = sum(strata.values())
    sizes = {name: size * count // total for name, count in strata.items()}
    by_remainder = sorted(strata, key=lambda name: (-(size * strata[name] % total), -strata[name], name))
    for name in by_remainder[: size - sum(sizes.values())]:
        sizes[name] += 1
    return sizes


def _draw(subjects: set[str], size: int, key: str) -> set[str]:
    def order(subject: str) -> str:
        return hashlib.sha256(f"{key} {subject}".encode()).hexdigest()

    return set(sorted(subjects, key=order)[:size])
