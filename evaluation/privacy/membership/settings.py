"""Settings of the attacks and of their positive control. Values and reasons are in ``params.yaml``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cmr.errors import DataError

LEAST_PATIENTS = 5


@dataclass(frozen=True)
class MembershipSettings:
    """What an attack reads of a network.

    Attributes:
        times: shares of the way from image (0) to noise (1) at which the errors are read.
        noises: noises at each of them, over which the errors are averaged.
        slices: at most so many slices of a patient, drawn at random; None: all.
        batch: slices a network pass: memory against nothing else.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    times: tuple[float, ...]
    noises: int
    slices: int | None
    batch: int

    def __post_init__(self) -> None:
        check_grid(self.times, self.noises, self.batch)
        if self.slices is not None and self.slices < 1:
            raise DataError(f"privacy.membership: slices={self.slices}; expected at least 1 of a patient, or null for all")


@dataclass(frozen=True)
class ControlSettings:
    """Where the training of the positive control differs from the generator's own; everything else is the generator's.

    Attributes:
        patients: that it learns by heart, all of one vendor, and as many others of that vendor as non-members; fewer on either
            side where there are not so many.
        slices: of each patient, drawn at random; None: all.
        max_steps: of a generator's training.
        mask_steps: of the mask model's, which takes longer to learn what it is not told by a condition.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    patients: int
    slices: int | None
    max_steps: int
    mask_steps: int

    def __post_init__(self) -> None:
        if self.patients < LEAST_PATIENTS:
            raise DataError(
                f"privacy.control: patients={self.patients}; expected at least {LEAST_PATIENTS}: fewer do not show what an "
                "attack can find"
            )
        if min(self.max_steps, self.mask_steps) < 1 or (self.slices is not None and self.slices < 1):
            raise DataError(
                f"privacy.control: slices={self.slices}, max_steps={self.max_steps}, mask_steps={self.mask_steps}; "
                "expected at least 1 of each (slices: null for all)"
            )


def check_grid(times: Sequence[float], noises: int, batch: int) -> None:
    """Raises DataError unless the times are shares of the way from image (0) to noise (1), and the counts positive."""
    if not times or not all(0 <= time <= 1 for time in times) or noises < 1 or batch < 1:
        raise DataError(
            f"privacy.membership: times={list(times)}, noises={noises}, batch={batch}; expected at least one time, all from 0 "
            "(image) to 1 (noise), and at least 1 noise and 1 slice a batch"
        )
