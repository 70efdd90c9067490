"""The trade-off in one picture: fidelity, utility and privacy of all generators, two axes at a time, with intervals."""

from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.reporting.charts import QUIET, STYLE, as_uri
from pipelines.reporting.curves import LINES
from pipelines.reporting.names import CLINICAL, FIDELITY, LOWER, PRIVACY, Metric, dataset_name, network_name
from pipelines.reporting.source import ReportSource

Nested = dict[str, Any]


@dataclass(frozen=True)
class TradeOff:
    """``chart`` is a data URI, empty where no two axes have a figure of the same generator; ``caption`` says what is shown."""

    chart: str
    caption: str


@dataclass(frozen=True)
class _Axis:
    """One of the three: its label, the generators' figures, and a line to read them against."""

    label: str
    metric: Metric
    figures: dict[str, Nested]
    line: float | None = None
    line_name: str = ""
    instead: str = ""

    def known(self, name: str) -> Nested | None:
        one = self.figures[name]
        return one if one.get("value") is not None else None


def trade_off(project: ReportSource, metrics: Nested) -> TradeOff:
    """KID, or mask adherence where no generator has a KID; Dice of Full-Syn; membership AUC, or the share nearer training."""
    home, names = project.params["generators"]["train_on"][0], project.generators
    axes = [_fidelity(metrics, names), _utility(metrics, names, home), _privacy(metrics, names)]
    pairs = [(axes[0], axes[1]), (axes[0], axes[2]), (axes[2], axes[1])]
    gaps = [
        f"{network_name(name)} has no {axis.label} ({axis.figures[name].get('reason') or 'no reason given'})"
        for axis in axes
        for name in names
        if not axis.known(name)
    ]
    instead = [axis.instead for axis in axes if axis.instead]
    if not any(x.known(name) and y.known(name) for x, y in pairs for name in names):
        return TradeOff("", f"No trade-off to show yet: {'; '.join(gaps)}.")
    lines = [axis.line_name for axis in axes if axis.line is not None]
    caption = (
        f"Two axes at a time: {', '.join(axis.label for axis in axes)}. Up and to the right is better: axes on which "
        "less is better run backwards. Bars are the intervals."
        + (f" Dashed: {' and '.join(lines)}." if lines else "")
        + "".join(f" {sentence}." for sentence in [*instead, *(f"Not drawn: {gap}" for gap in gaps)])
    )
    return TradeOff(_draw(pairs, names), caption)


def _fidelity(metrics: Nested, names: list[str]) -> _Axis:
    kid, adherence = (
        _Axis(FIDELITY[key].name, FIDELITY[key], _of(metrics["fidelity"], names, key)) for key in ("kid", "mask_adherence")
    )
    return _first(kid, adherence, names)


def _privacy(metrics: Nested, names: list[str]) -> _Axis:
    attack, near = (
        _Axis(
            label,
            replace(PRIVACY[key], better=LOWER),
            _of(metrics["privacy"], names, key),
            0.5,
            "0.5, as of a model that remembers nobody",
        )
        for key, label in (("mia_auc", "membership AUC"), ("closer_to_train", "share closer to training"))
    )
    return _first(attack, near, names)


def _utility(metrics: Nested, names: list[str], home: str) -> _Axis:
    figures = {name: metrics["utility"][f"{name}-full"][home]["clinical"]["dice"] for name in names}
    real = metrics["utility"].get(f"{home}-real", {}).get(home, {}).get("clinical", {}).get("dice", {}).get("value")
    label = f"Dice of Full-Syn on {dataset_name(home)} test"
    return _Axis(label, CLINICAL["dice"], figures, real, "the Dice after training on real slices")


def _of(by_generator: Nested, names: list[str], key: str) -> dict[str, Nested]:
    return {name: by_generator[name].get(key) or {} for name in names}


def _first(wanted: _Axis, other: _Axis, names: list[str]) -> _Axis:
    """``wanted``, or ``other`` where only that has figures."""
    if any(map(wanted.known, names)) or not any(map(other.known, names)):
        return wanted
    why = next((one["reason"] for one in wanted.figures.values() if one.get("reason")), "no reason given")
    return replace(other, instead=f"No generator has a {wanted.label} ({why}): {other.label} stands in its place")


def _draw(pairs: list[tuple[_Axis, _Axis]], names: list[str]) -> str:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.2, 3.5), layout="constrained")
        panels = figure.subplots(1, len(pairs))
        for axes, (x, y) in zip(panels, pairs, strict=True):
            for name, (colour, marker) in zip(names, cycle(LINES), strict=False):
                _point(axes, x.known(name), y.known(name), colour, marker)
            _dress(axes, x, y)
        for name, (colour, marker) in zip(names, cycle(LINES), strict=False):
            panels[0].plot([], [], marker, color=colour, markersize=6, label=network_name(name))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(names), fontsize=8)
        return as_uri(figure)


def _point(axes: Axes, x: Nested | None, y: Nested | None, colour: str, marker: str) -> None:
    if x is None or y is None:
        return
    for one, other, flat in ((x, y, True), (y, x, False)):
        if one.get("ci_low") is not None and one.get("ci_high") is not None:
            ends, still = [one["ci_low"], one["ci_high"]], [other["value"]] * 2
            axes.plot(*((ends, still) if flat else (still, ends)), color=colour, linewidth=1.6, alpha=0.45)
    axes.plot([x["value"]], [y["value"]], marker, color=colour, markersize=6)


def _dress(axes: Axes, x: _Axis, y: _Axis) -> None:
    axes.margins(0.12)
    if x.line is not None:
        axes.axvline(x.line, color=QUIET, linewidth=1, linestyle="--")
    if y.line is not None:
        axes.axhline(y.line, color=QUIET, linewidth=1, linestyle="--")
    for axis, label in ((x, axes.set_xlabel), (y, axes.set_ylabel)):
        label(f"{axis.label}, less is better" if axis.metric.better == LOWER else axis.label, fontsize=7.5)
    if x.metric.better == LOWER:
        axes.invert_xaxis()
    if y.metric.better == LOWER:
        axes.invert_yaxis()
