"""The figures of a sweep, each as SVG and PNG: how it went, which parameters mattered, and the front of several objectives."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlops.tuning.results import front
from mlops.tuning.study import FINISHED, STOPPED, Study, Trial
from pipelines.reporting.charts import INK, QUIET, STYLE

_LEAD, _REST = "#2f6fab", "#98a2b3"
_NAMES = {
    "kid": "KID (lower is better)",
    "frechet": "Fréchet distance, segmenter (lower)",
    "adherence": "mask adherence, Dice (higher)",
    "membership": "membership AUC (lower; 0.5 is chance)",
    "shapes": "KS distance of shapes (lower)",
    "valid_share": "valid masks (higher)",
}


def draw(study: Study, trials: Sequence[Trial], importance: pd.DataFrame, folder: Path) -> None:
    """Writes ``history``, ``importance`` and, of several objectives, ``front``, as far as there is something to draw."""
    with mpl.rc_context(STYLE):
        for name, figure in _figures(study, trials, importance):
            figure.savefig(folder / f"{name}.svg", format="svg", metadata={"Date": None, "Creator": None})
            figure.savefig(folder / f"{name}.png", format="png", dpi=144, metadata={"Software": None})


def _figures(study: Study, trials: Sequence[Trial], importance: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    finished = [trial for trial in trials if trial.state == FINISHED]
    if finished and study.objectives:
        yield "front", _front(study, finished)
    elif finished:
        yield "history", _history(study, trials)
    if len(importance):
        yield "importance", _importance(importance)


def _history(study: Study, trials: Sequence[Trial]) -> Figure:
    """The score of each trial, and the best so far."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    for state, colour, marker in ((FINISHED, _LEAD, "o"), (STOPPED, _REST, "x")):
        some = [trial for trial in trials if trial.state == state and trial.scores]
        axes.plot([one.number for one in some], [one.scores["score"] for one in some], marker, color=colour, label=state)
    finished = [trial for trial in trials if trial.state == FINISHED]
    reached = pd.Series([trial.scores["score"] for trial in finished]).cummax()
    axes.step([trial.number for trial in finished], reached, where="post", color=_LEAD, linewidth=1.2, label="best so far")
    axes.set_title(study.name)
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{study.search.metric} score (higher is better)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=7.5)
    return figure


def _importance(importance: pd.DataFrame) -> Figure:
    """A panel an objective."""
    parts = list(importance.groupby("objective", sort=False))
    height = 0.9 + 0.3 * importance["parameter"].nunique()
    figure = Figure(figsize=(3.6 * max(2, len(parts)), height), layout="constrained")
    for axes, (objective, rows) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        rows = rows.sort_values("importance")
        axes.barh(rows["parameter"], rows["importance"], color=_LEAD, height=0.6)
        axes.set_title(str(objective))
        axes.set_xlabel("share of the differences")
        axes.set_xlim(0, 1)
    return figure


def _front(study: Study, finished: Sequence[Trial]) -> Figure:
    """Each pair of objectives against one another; the numbers are those of the trials that no other beats."""
    leading = front(study, finished)
    rest = [trial for trial in finished if trial not in leading]
    pairs = list(combinations(study.goals, 2))
    figure = Figure(figsize=(3.6 * max(2, len(pairs)), 3.4), layout="constrained")
    for axes, (across, up) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        _scatter(axes, rest, across, up, _REST, "others")
        _scatter(axes, leading, across, up, _LEAD, "front")
        for trial in leading:
            place = (trial.scores[across], trial.scores[up])
            axes.annotate(str(trial.number), place, xytext=(4, 3), textcoords="offset points", fontsize=7, color=INK)
        axes.set_xlabel(_NAMES[across])
        axes.set_ylabel(_NAMES[up], color=QUIET)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=8)
    return figure


def _scatter(axes: Axes, trials: Sequence[Trial], across: str, up: str, colour: str, label: str) -> None:
    right, high = ([trial.scores[name] for trial in trials] for name in (across, up))
    axes.scatter(right, high, color=colour, s=18, label=label)
