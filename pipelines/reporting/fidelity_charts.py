"""FID against the number of images, which shows how much of it is the bias of a small sample."""

from itertools import cycle
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.reporting.charts import QUIET, STYLE, as_uri
from pipelines.reporting.curves import LINES
from pipelines.reporting.names import network_name
from pipelines.reporting.source import ReportSource, Stage

Nested = dict[str, Any]
_PANELS = {"made": "Images of the test masks", "full": "Full-Syn"}


def against_n_chart(project: ReportSource) -> str:
    """FID of every generator's images, and of real training slices as the floor, at growing numbers of images. Empty without.

    Left the images of the test masks, right those of generated masks; both against the test slices.
    """
    stages = {name: project.stage(f"fidelity-{name}") or Stage() for name in project.generators}
    curves: Nested = {name: found for name, stage in stages.items() if (found := stage.notes.get("fid_against_n"))}
    if not curves:
        return ""
    floor = next((one["train"] for one in curves.values() if "train" in one), None)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.2, 3.2), layout="constrained")
        panels = figure.subplots(1, len(_PANELS), sharey=True)
        for axes, (key, title) in zip(panels, _PANELS.items(), strict=True):
            for name, (colour, marker) in zip(project.generators, cycle(LINES), strict=False):
                if curve := curves.get(name, {}).get(key):
                    label = network_name(name)
                    axes.plot(curve["n"], curve["frechet"], marker, ls="-", color=colour, ms=4, lw=1.4, label=label)
            if floor:
                label = "floor: real training slices"
                axes.plot(floor["n"], floor["frechet"], color=QUIET, lw=1.2, ls=(0, (4, 3)), label=label)
            axes.set_title(title)
            axes.set_xlabel("images a side")
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panels[0].set_ylim(bottom=0)  # of both, once all is drawn: it ends the automatic scale
        panels[0].set_ylabel("FID")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=max(1, len(labels)), fontsize=8)
        return as_uri(figure)
