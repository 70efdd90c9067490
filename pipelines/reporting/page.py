"""reports/report.html: one self-contained page, readable on screen and on paper, with no script and no outside host."""

from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluation.shapes import measure_shapes
from pipelines.reporting import charts, data_tables, gallery, paper_values, summary, tables
from pipelines.reporting.metrics import setups
from pipelines.reporting.names import (
    STRUCTURE_COLOURS,
    STRUCTURE_NAMES,
    dataset_name,
    network_name,
)
from pipelines.reporting.project import Project

_MEASURED = 400  # masks of each kind behind the density chart: at 5 ms each, seconds
_HERE = Path(__file__).parent


def render(project: Project, metrics: dict[str, Any]) -> str:
    """The page as HTML.

    Args:
        metrics: of :func:`pipelines.reporting.metrics.gather`.

    Raises:
        DataError: a file of the project is broken, or figures and slice stores do not belong together.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        **_opening(project, metrics), **_results(project, metrics), **_provenance(project)
    )


def _opening(project: Project, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "profile": project.params["profile"],
        "phantoms": summary.phantom_names(project),
        "confidence": summary.confidence(project),
        "sentences": summary.sentences(project, metrics),
        "headlines": summary.headlines(project, metrics),
        "datasets_table": data_tables.datasets_table(project),
        "splits_table": data_tables.splits_table(metrics, project.all_datasets),
        "hearts": [strip for dataset in project.datasets for strip in gallery.hearts(project, dataset)],
        "colours": STRUCTURE_COLOURS,
        "structures": STRUCTURE_NAMES,
        "caveat": paper_values.CAVEAT,
    }


def _results(project: Project, metrics: dict[str, Any]) -> dict[str, Any]:
    compared, test_sets = setups(project), project.all_datasets
    return {
        "masks_table": tables.masks_table(metrics),
        "validity_table": tables.validity_table(metrics),
        "mask_strips": gallery.masks(project),
        "densities": _densities(project),
        "fidelity_table": tables.fidelity_table(metrics),
        "grids": {network_name(name): gallery.sample_grid(project, name) for name in project.generators},
        "full_grids": {network_name(name): gallery.synthetic_only(project, name) for name in project.generators},
        "train_on": " and ".join(dataset_name(name) for name in project.params["generators"]["train_on"]),
        "utility_tables": [
            tables.utility_table(metrics, convention, compared, test_sets) for convention in ("clinical", "paper")
        ],
        "outcomes_table": tables.outcomes_table(metrics, compared, test_sets),
        "paper_utility_table": tables.paper_utility_table(compared),
        "dice_chart": charts.dice_chart(metrics["utility"], compared, test_sets),
        "privacy_table": tables.privacy_table(metrics),
        "pairs": {network_name(name): gallery.closest_pairs(project, name) for name in [*project.generators, "masks"]},
    }


def _provenance(project: Project) -> dict[str, Any]:
    return {
        "loss_charts": [(network_name(network.name), charts.loss_chart(network)) for network in project.networks],
        "networks_table": data_tables.networks_table(project.networks),
        "hashes_table": data_tables.hashes_table(project.networks),
        "parameters": data_tables.parameters(project.params),
        "revision": project.revision,
        "seed": project.params["seed"],
    }


def _densities(project: Project) -> str:
    """The shape densities (Fig. 4); empty unless there are both real and generated masks."""
    stores = [project.store(path) for path in ("cohort/train", "masks/full")]
    shapes = []
    for store in stores:
        if store is None:
            return ""
        rows = np.unique(np.linspace(0, len(store) - 1, min(len(store), _MEASURED)).round().astype(np.int64))
        shapes.append(measure_shapes(np.asarray(store.masks[rows])))
    return charts.density_chart(*shapes)
