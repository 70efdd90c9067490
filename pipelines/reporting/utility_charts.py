"""Each training beside the real one, as a chart."""

from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from pipelines.reporting.charts import INK, QUIET, STYLE, as_uri
from pipelines.reporting.names import dataset_name, setup_name

Nested = dict[str, Any]


def against_real_chart(utility: Nested, setups: list[str], test_sets: list[str], real: str) -> str:
    """Clinical Dice less that of the training on real slices, a panel a test set, with intervals. Empty without figures."""
    found = {
        (test, setup): utility[setup][test]["clinical"].get("dice_vs_real") or {} for test in test_sets for setup in setups
    }
    known = {key: value for key, value in found.items() if value.get("value") is not None}
    shown = [test for test in test_sets if any(of == test for of, _ in known)]
    names = [setup for setup in setups if any(of == setup for _, of in known)]
    if not known:
        return ""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.2, 0.9 + 0.3 * len(names)), layout="constrained")
        panels = figure.subplots(1, len(shown), sharey=True, sharex=True, squeeze=False)[0]
        for axes, test in zip(panels, shown, strict=True):
            axes.axvline(0, color=QUIET, linewidth=1, linestyle="--")
            for place, setup in enumerate(reversed(names)):
                if value := known.get((test, setup)):
                    if value.get("ci_low") is not None:
                        axes.plot([value["ci_low"], value["ci_high"]], [place, place], color=INK, linewidth=1.6, alpha=0.45)
                    axes.plot([value["value"]], [place], "o", color=INK, markersize=5)
            axes.set_title(f"{dataset_name(test)} test")
            axes.set_xlabel(f"Dice, clinical, less that of {setup_name(real)}")
            axes.set_yticks(range(len(names)), [setup_name(name) for name in reversed(names)])
            axes.tick_params(axis="y", labelcolor=INK)
            axes.set_ylim(-0.6, len(names) - 0.4)
        return as_uri(figure)
