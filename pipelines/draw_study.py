"""A study as a figure: what a generator can do, against the number of patients that it was trained on."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from cmr.files import whole_file
from pipelines.reporting.charts import INK, QUIET, STYLE
from pipelines.reporting.names import network_name
from pipelines.stage import run

# figure of the table -> title, and the value that says "good" or "nothing learnt about a patient", if there is one
_PANELS: dict[str, tuple[str, float | None]] = {
    "mask_adherence": ("Mask adherence (Dice)", None),
    "kid": ("KID, Inception (0 is best)", 0.0),
    "dice": ("Clinical Dice of a segmenter", None),
    "mia_auc": ("Membership AUC (0.5 is chance)", 0.5),
}
_COLOURS = ("#2f6fab", "#98a2b3")


def main(table: str) -> None:
    """Draws the table of a study, ``reports/studies/NAME.csv``, as ``NAME.svg`` beside it."""
    path = Path(table)
    with whole_file(path.with_suffix(".svg")) as temporary:
        draw_study(pd.read_csv(path)).savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


def draw_study(table: pd.DataFrame) -> Figure:
    """A panel a figure: values with intervals against patients, on a logarithmic axis; a figure that is missing says why."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.2, 3.0), layout="constrained")
        for axes, (name, (title, ideal)) in zip(figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
            axes.set_title(title)
            axes.set_xlabel("training patients")
            rows = table[table["figure"] == name]
            for colour, (model, values) in zip(_COLOURS, rows.groupby("model", sort=False), strict=False):
                _line(axes, values.sort_values("patients"), str(model), colour)
            if ideal is not None:
                axes.axhline(ideal, color=QUIET, linewidth=1, linestyle=":")
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator(sorted(table["patients"].unique())))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(ScalarFormatter())
            if rows["model"].nunique() > 1:
                axes.legend(fontsize=7.5)
        return figure


def _line(axes: Axes, values: pd.DataFrame, model: str, colour: str) -> None:
    known = values[values["value"].notna()]
    if known.empty:
        why = str(values["reason"].iloc[0])
        axes.text(0.5, 0.5, f"missing:\n{why}", transform=axes.transAxes, ha="center", va="center", wrap=True, color=INK)
        return
    label = "all real patients" if model == "real" else network_name(model)
    axes.plot(known["patients"], known["value"], "o-", color=colour, markersize=4, linewidth=1.5, label=label)
    axes.vlines(known["patients"], known["ci_low"], known["ci_high"], color=colour, linewidth=1.5, alpha=0.45)


if __name__ == "__main__":
    run(main)
