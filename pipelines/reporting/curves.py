"""Training curves: of each network, and the mask adherence of all generators by steps and by time."""

from itertools import cycle

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from pipelines.reporting.charts import INK, QUIET, STYLE, as_uri
from pipelines.reporting.names import STRUCTURE_COLOURS, network_name
from pipelines.reporting.source import Network, ReportSource

_LOSS = "#3d5a80"
# One a generator, told apart in black and white too by their markers.
LINES = (("#3d5a80", "o"), ("#c8553d", "s"), ("#6a994e", "^"), ("#7b5ea7", "D"), ("#b08900", "v"), ("#2a9d8f", "P"))
_MINUTES_FROM = 600  # seconds


def loss_chart(network: Network) -> str:
    """Training loss above, validation score below, over optimisation steps; the kept checkpoint is marked."""
    history = network.history
    validation = history.dropna(subset=["validation"])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.2 if len(validation) else 1.9), layout="constrained")
        panels = figure.subplots(2 if len(validation) else 1, 1, sharex=True, squeeze=False)[:, 0]
        marker = "o" if len(history) < 3 else None
        panels[0].plot(history["step"], history["train_loss"], color=_LOSS, linewidth=1.4, marker=marker, markersize=3)
        panels[0].set_ylabel("training loss")
        if (history["train_loss"] > 0).all():
            _log_axis(panels[0])
        if len(validation):
            panels[1].plot(validation["step"], validation["validation"], color=INK, linewidth=1.4, marker="o", markersize=2.5)
            panels[1].set_ylabel("validation score")
            _mark_best(panels[1], network)
        panels[-1].set_xlabel("optimisation step")
        panels[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True))
        return as_uri(figure)


def _log_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=12))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _mark_best(axes: Axes, network: Network) -> None:
    best = network.record.get("best") or {}
    if best.get("score") is not None and best.get("step") is not None:
        axes.plot([best["step"]], [best["score"]], "o", markersize=7, color="none", markeredgecolor=STRUCTURE_COLOURS["LV"])
        axes.annotate(
            "kept",
            (best["step"], best["score"]),
            xytext=(0, -13),
            textcoords="offset points",
            ha="center",
            color=QUIET,
            fontsize=7.5,
        )


def adherence_chart(project: ReportSource, real: float | None) -> str:
    """Mask adherence on the validation masks while the generators train: over steps, and over seconds. Empty without any.

    Args:
        real: mask adherence of the real test slices, a line to look up to.
    """
    curves = {}
    for network in filter(None, map(project.network, project.generators)):
        history = network.history.assign(time=time_axis(project, network)).dropna(subset=["validation"])
        if len(history):
            curves[network_name(network.name)] = history
    if not curves:
        return ""
    minutes = max(history["time"].max() for history in curves.values()) >= _MINUTES_FROM
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.2, 3.0), layout="constrained")
        by_steps, by_time = figure.subplots(1, 2, sharey=True)
        for (name, history), (colour, marker) in zip(curves.items(), cycle(LINES), strict=False):
            for axes, x in ((by_steps, history["step"]), (by_time, history["time"] / (60 if minutes else 1))):
                axes.plot(x, history["validation"], color=colour, marker=marker, markersize=4, linewidth=1.4, label=name)
        for axes, title in ((by_steps, "optimisation step"), (by_time, f"{'minutes' if minutes else 'seconds'} of training")):
            if real is not None:
                axes.axhline(real, color=QUIET, linewidth=1.1, linestyle=(0, (4, 3)), label="real test slices")
            axes.set_xlabel(title)
            axes.set_xlim(left=0)
            axes.set_ylim(0, 1)
        by_steps.set_ylabel("mask adherence (Dice)")
        by_steps.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        handles, labels = by_steps.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize=8)
        return as_uri(figure)


def time_axis(project: ReportSource, network: Network) -> pd.Series:
    """Seconds of training at each entry of a generator's history; those of a latent one begin after its autoencoder's."""
    autoencoder = project.network(f"autoencoder/{network.name}")
    return network.history["seconds"] + (float(autoencoder.record.get("seconds", 0)) if autoencoder else 0)
