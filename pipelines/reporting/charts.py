"""Charts as self-contained SVG data URIs, all in one style: shape densities, Dice by structure."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cmr.labels import STRUCTURES
from pipelines.reporting.names import MASK_FEATURES, STRUCTURE_COLOURS, dataset_name, setup_name

Nested = dict[str, Any]

INK, QUIET, RULE = "#1c2430", "#667085", "#d9dee6"
_REAL = "#98a2b3"  # real masks, beside generated ones in the structure's colour
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": RULE,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eef1f5",
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "syncmri",
}
_DENSITY_FEATURES = ("area", "eccentricity", "roundness", "solidity")


@dataclass(frozen=True)
class Density:
    """Densities (M,) of a shape feature at ``grid`` (M,); None for the kind of masks of which none shows the structure."""

    grid: NDArray[np.float64]
    real: NDArray[np.float64] | None
    generated: NDArray[np.float64] | None


Densities = dict[tuple[str, str], Density | None]
"""(structure, feature) -> its density; None where no mask shows the structure."""


def shape_densities(real: pd.DataFrame, generated: pd.DataFrame) -> Densities:
    """What the chart of the shapes shows: curves, and no single mask.

    Args:
        real, generated: tables of :func:`evaluation.shapes.measure_shapes`.
    """
    found: Densities = {}
    for structure in STRUCTURES:
        tables = [table[table["structure"] == structure] for table in (real, generated)]
        for feature in _DENSITY_FEATURES:
            values = [table[feature].to_numpy(dtype=float) for table in tables]
            found[structure, feature] = _density(values[0], values[1], np.inf if feature == "area" else 1.0)
    return found


def _density(real: NDArray[np.float64], generated: NDArray[np.float64], highest: float) -> Density | None:
    together = np.concatenate([real, generated])
    if together.size == 0:
        return None
    margin = 0.12 * float(np.ptp(together)) or 0.05 * max(1.0, abs(float(together[0])))
    grid = np.linspace(max(0.0, together.min() - margin), min(highest, together.max() + margin), 200)
    curves = (gaussian_density(values, grid) if values.size else None for values in (real, generated))
    return Density(grid, *curves)


def density_chart(densities: Densities) -> str:
    """Densities of the shape features, real against generated (paper, Fig. 4)."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.2, 5.2), layout="constrained")
        panels = figure.subplots(len(STRUCTURES), len(_DENSITY_FEATURES), squeeze=False)
        for row, structure in enumerate(STRUCTURES):
            for column, feature in enumerate(_DENSITY_FEATURES):
                axes = panels[row, column]
                _draw_density(axes, densities[structure, feature], STRUCTURE_COLOURS[structure])
                axes.set_yticks([])
                axes.spines["left"].set_visible(False)
                axes.xaxis.set_major_locator(MaxNLocator(4))
                axes.set_ylim(bottom=0)
                if row == 0:
                    axes.set_title(MASK_FEATURES[feature].name.replace(" 4πA/P²", ""))
                if row == len(STRUCTURES) - 1:
                    axes.set_xlabel("pixels" if feature == "area" else "0 to 1, no unit")
            panels[row, 0].set_ylabel(structure, color=INK, fontweight="bold", rotation=0, ha="right", va="center")
        key = [Patch(color=_REAL, alpha=0.6, label="real")]
        key += [Patch(color=colour, alpha=0.6, label=f"generated {name}") for name, colour in STRUCTURE_COLOURS.items()]
        figure.legend(handles=key, loc="outside upper right", ncols=len(key), fontsize=8)
        return as_uri(figure)


def _draw_density(axes: Axes, density: Density | None, colour: str) -> None:
    if density is None:
        axes.text(0.5, 0.5, "no mask shows it", transform=axes.transAxes, ha="center", va="center", color=QUIET)
        return
    for curve, own in ((density.real, _REAL), (density.generated, colour)):
        if curve is not None:
            axes.fill_between(density.grid, curve, alpha=0.22, linewidth=0, color=own)
            axes.plot(density.grid, curve, linewidth=1.5, color=own)


def gaussian_density(values: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kernel density of ``values`` (N,) at ``grid`` (M,) with Silverman's rule of thumb (1986, eq. 3.31); its area is 1.

    Equal values have no spread to go by: they get a narrow kernel of a fiftieth of the grid.
    """
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
    lower, upper = np.percentile(values, [25, 75])
    scale = min(spread, float(upper - lower) / 1.34) or spread
    width = 0.9 * scale * values.size**-0.2 or float(np.ptp(grid)) / 50
    kernels = np.exp(-0.5 * ((grid[:, None] - values[None, :]) / width) ** 2)
    return kernels.mean(axis=1) / (width * np.sqrt(2 * np.pi))


def dice_chart(utility: Nested, setups: list[str], test_sets: list[str]) -> str:
    """Clinical Dice of each structure by training setup, a panel a test set, with intervals. Empty without figures."""
    dots = {test: _structure_dots(utility, setups, test) for test in test_sets}
    shown = [test for test in test_sets if dots[test]]
    if not shown:
        return ""
    names = [setup for setup in setups if any(setup == dot[0] for test in shown for dot in dots[test])]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.2, 1.1 + 0.42 * len(names)), layout="constrained")
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, test in zip(panels, shown, strict=True):
            for setup, structure, figure_json in dots[test]:
                _dot(axes, len(names) - 1 - names.index(setup), structure, figure_json)
            axes.set_title(f"{dataset_name(test)} test")
            axes.set_xlim(-0.03, 1.03)
            axes.set_xlabel("Dice, clinical (1 is perfect)")
            axes.set_yticks(range(len(names)), [setup_name(name) for name in reversed(names)])
            axes.tick_params(axis="y", labelcolor=INK)
            axes.set_ylim(-0.6, len(names) - 0.4)
        for structure, colour in STRUCTURE_COLOURS.items():
            panels[0].plot([], [], "o", color=colour, markersize=5, label=structure)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=8)
        return as_uri(figure)


def _structure_dots(utility: Nested, setups: list[str], test: str) -> list[tuple[str, str, Nested]]:
    found = []
    for setup in setups:
        clinical = utility[setup][test]["clinical"]
        for structure in STRUCTURES:
            value = (clinical.get(structure) or {}).get("dice")
            if value and value.get("value") is not None:
                found.append((setup, structure, value))
    return found


def _dot(axes: Axes, row: int, structure: str, value: Nested) -> None:
    place = row + 0.2 * (1 - list(STRUCTURES).index(structure))
    colour = STRUCTURE_COLOURS[structure]
    if value.get("ci_low") is not None:
        axes.plot([value["ci_low"], value["ci_high"]], [place, place], color=colour, linewidth=1.6, alpha=0.45)
    axes.plot([value["value"]], [place], "o", color=colour, markersize=5)


def as_uri(figure: Figure) -> str:
    """A figure drawn as SVG, as a data URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index(b"<svg") :]  # without the document type, which names an outside address
    return "data:image/svg+xml;base64," + base64.b64encode(drawing).decode("ascii")
