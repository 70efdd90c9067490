"""Verdicts and histories as tables of the command line."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from mlops.gate import Verdict
from mlops.history import Event
from mlops.promotion import required

_WORDS = {"pass": "[green]pass[/]", "fail": "[red]refused[/]", "missing": "[red]missing[/]"}


def verdict_table(name: str, verdicts: Sequence[Verdict], meaning: str) -> Table:
    """Each limit of the gate: what it asks for, the figure with its interval, what of it was compared, the verdict.

    Args:
        name: of the model's version.
        meaning: of passing, ``gate.meaning``.
    """
    table = _table(f"{name}: the limits of the gate", ("Limit", "Asked for", "Value", "Interval", "N", "Compared", "Verdict"))
    table.caption = meaning
    for verdict in verdicts:
        figure = verdict.figure or {}
        low, high = figure.get("ci_low"), figure.get("ci_high")
        table.add_row(
            f"{verdict.axis}.{verdict.name}",
            required(verdict),
            _number(figure.get("value")),
            "" if low is None or high is None else f"{_number(low)} – {_number(high)}",
            str(figure.get("n") or ""),
            _number(verdict.compared),
            _WORDS[verdict.outcome],
        )
    return table


def history_table(name: str, events: Sequence[Event]) -> Table:
    """One row an event, the oldest first: when, who, what, on which figures and limits, and what it replaced."""
    table = _table(f"{name}: what became of its versions", ("When (UTC)", "Who", "What", "Figures and limits"))
    for event in events:
        table.add_row(
            event.when[:19].replace("T", " "),
            escape(event.who),
            escape("\n".join(_what(event))),
            escape("\n".join(_figures(event))),
        )
    return table


def _what(event: Event) -> list[str]:
    lines = [f"version {event.version} {event.what}"]
    if event.state == "pending":
        lines.append("interrupted: not completed")
    if event.override:
        lines.append(f"by override: {event.override}")
    if event.replaced:
        lines.append(f"in place of version {event.replaced}")
    return lines


def _figures(event: Event) -> list[str]:
    lines = [f"{name} {_number(event.values.get(name))} {asked}" for name, asked in event.limits.items()]
    return lines + [f"refused: {reason}" for reason in event.reasons]


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left", caption_justify="left")
    for column in columns:
        right = column in ("Value", "Interval", "N", "Compared")
        # Names of limits are whole at any width: shortened, several would look the same.
        table.add_column(column, justify="right" if right else "left", no_wrap=column == "Limit", overflow="fold")
    return table


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}"
