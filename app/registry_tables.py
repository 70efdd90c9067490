"""Verdicts and histories as tables of the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from mlops.approvals.statement import Statement
from mlops.gate import Verdict
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
            required(asdict(verdict.limit), verdict.bound),
            _number(figure.get("value")),
            "" if low is None or high is None else f"{_number(low)} – {_number(high)}",
            str(figure.get("n") or ""),
            _number(verdict.compared),
            _WORDS[verdict.outcome],
        )
    return table


def history_table(name: str, history: Sequence[Statement], signers: Mapping[str, str]) -> Table:
    """One row a statement, the oldest first: when, who, what, on which figures and limits, and what it replaced.

    Args:
        signers: id of a statement -> the name of the trusted key that has signed it.
    """
    table = _table(f"{name}: what became of its versions", ("When (UTC)", "Who", "What", "Figures and limits"))
    for statement in history:
        table.add_row(
            statement.when[:19].replace("T", " "),
            escape(f"{statement.who}\n{_signed(statement, signers)}"),
            escape("\n".join(_what(statement))),
            escape("\n".join(_figures(statement))),
        )
    return table


def _signed(statement: Statement, signers: Mapping[str, str]) -> str:
    return f"signed: {signers[statement.id]}" if statement.id in signers else "not signed"


def _what(statement: Statement) -> list[str]:
    lines = [f"version {statement.version} {statement.what}"]
    if statement.override:
        lines.append(f"by override: {statement.override}")
    if statement.replaced:
        lines.append(f"in place of version {statement.replaced}")
    return lines


def _figures(statement: Statement) -> list[str]:
    lines = [
        f"{verdict['axis']}.{verdict['name']} {_number(verdict['compared'])} {required(verdict['limit'], verdict['bound'])}"
        for verdict in statement.verdicts
    ]
    return lines + [f"refused: {reason}" for reason in statement.reasons]


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left", caption_justify="left")
    for column in columns:
        right = column in ("Value", "Interval", "N", "Compared")
        # Names of limits are whole at any width: shortened, several would look the same.
        table.add_column(column, justify="right" if right else "left", no_wrap=column == "Limit", overflow="fold")
    return table


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}"
