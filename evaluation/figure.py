"""A figure of the report: a value, its interval and the number of observations behind it, or the reason why it is missing."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One number with its uncertainty.

    Attributes:
        value: the figure, or None where it is missing.
        ci_low, ci_high: ends of the confidence interval. Both None where there is none: for counts and p-values, which have
            no interval by nature, and where it can't be computed (one patient); then ``reason`` says why.
        n: observations (images, slices, volumes) that entered the value; not the number of patients.
        reason: why the value or its interval is missing.
    """

    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    reason: str | None = None

    @classmethod
    def missing(cls, reason: str) -> "Figure":
        """A figure that could not be computed; ``reason`` is printed in its place."""
        return cls(value=None, reason=reason)

    def to_json(self) -> dict[str, Any]:
        """``{"value", "ci_low", "ci_high", "n"}``, ``"reason"`` beside a lacking interval; or ``{"value": null, "reason"}``."""
        if self.value is None:
            return {"value": None, "reason": self.reason}
        figure: dict[str, Any] = {"value": self.value, "ci_low": self.ci_low, "ci_high": self.ci_high, "n": self.n}
        if self.reason is not None:
            figure["reason"] = self.reason
        return figure

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Figure":
        """The inverse of :meth:`to_json`; an unknown key is a TypeError."""
        return cls(**data)


Figures = dict[str, Any]
"""A tree of dictionaries with a :class:`Figure` at every leaf."""


def to_json(figures: Figures) -> dict[str, Any]:
    """The tree with every leaf as JSON."""
    return {name: entry.to_json() if isinstance(entry, Figure) else to_json(entry) for name, entry in figures.items()}
