"""Table cells: a figure with its interval and N, a plain text, or a dash whose reason becomes a footnote."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.reporting.names import Metric

Figure = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """What stands in one table cell. ``reason`` marks a missing figure; ``kind`` is its CSS class."""

    text: str
    interval: str = ""
    title: str = ""
    reason: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Column:
    """A column's heading; ``hint`` stands under it in small type (unit, direction, N); ``kind`` is its CSS class."""

    name: str
    hint: str = ""
    kind: str = ""


@dataclass
class Table:
    """A table as the page shows it.

    Attributes:
        caption: what it shows, in a sentence or two.
        groups: (heading, number of columns) pairs above the columns; none if empty.
        rows: each row's label cell first; a row of a single cell is a subheading over the whole width.
        notes: remarks under the table, after the reasons of missing figures.
    """

    caption: str
    columns: list[Column]
    rows: list[list[Cell]]
    groups: list[tuple[str, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def reasons(self) -> dict[str, str]:
        """The reasons of missing figures in order of appearance, with the letter by which cells refer to them."""
        found = dict.fromkeys(cell.reason for row in self.rows for cell in row if cell.reason)
        return {reason: _letter(place) for place, reason in enumerate(found)}


def text(value: object, kind: str = "") -> Cell:
    """A plain cell; an empty value is shown as a dash."""
    shown = str(value)
    return Cell(shown if shown else "–", kind=kind)


def figure(value: Figure | None, metric: Metric, kind: str = "") -> Cell:
    """A figure in the metric's scale and decimals with its interval; N, or why there is no interval, is the tooltip."""
    if value is None or value.get("value") is None:
        reason = (value or {}).get("reason") or "not given by the stage that makes this figure"
        return Cell("–", title=reason, reason=reason, kind=f"missing {kind}".strip())
    low, high = value.get("ci_low"), value.get("ci_high")
    interval = "" if low is None or high is None else f"{number(low, metric)} – {number(high, metric)}"
    facts = [f"N = {value['n']}" if value.get("n") is not None else "", value.get("reason") or ""]
    return Cell(number(value["value"], metric), interval, "; ".join(filter(None, facts)), kind=kind)


def paper(value: str | None, kind: str = "paper") -> Cell:
    """A figure printed in the paper."""
    reason = "" if value else "the paper does not give this figure"
    return Cell(value or "–", title=reason, reason=reason, kind=kind if value else f"missing {kind}")


def number(value: float, metric: Metric) -> str:
    return f"{value * metric.scale:.{metric.digits}f}".replace("-", "\u2212")


def p_value(value: Figure | float | None) -> Cell:
    """A p-value: three decimals, powers of ten when it is tiny."""
    raw = value.get("value") if isinstance(value, Mapping) else value
    if raw is None:
        return figure(value if isinstance(value, Mapping) else None, Metric("p"))
    return Cell(scientific(float(raw)))


def scientific(value: float) -> str:
    if value >= 0.001 or value == 0:
        return f"{value:.3f}" if value else "< 10⁻³⁰⁰"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def count_of(figures: list[Figure | None]) -> str:
    """The N that all the given figures share (``N = 44``), their range if they differ, empty if none says."""
    counts = sorted({int(value["n"]) for value in figures if value and value.get("value") is not None and value.get("n")})
    if not counts:
        return ""
    return f"N = {counts[0]}" if len(counts) == 1 else f"N = {counts[0]} – {counts[-1]}"


def _letter(place: int) -> str:
    return chr(ord("a") + place) if place < 26 else _letter(place // 26 - 1) + _letter(place % 26)
