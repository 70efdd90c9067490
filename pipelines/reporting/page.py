"""reports/report.html: one self-contained page, readable on screen and on paper, with no script and no outside host."""

from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluation.shapes import measure_shapes
from pipelines.reporting import (
    charts,
    curves,
    data_tables,
    fidelity_charts,
    gallery,
    grids,
    membership_tables,
    paper_values,
    privacy_tables,
    structures,
    summaries,
    summary,
    tables,
    tradeoff,
    utility_charts,
    utility_tables,
)
from pipelines.reporting.metrics import setups
from pipelines.reporting.names import STRUCTURE_COLOURS, STRUCTURE_NAMES, dataset_name, listed, network_name
from pipelines.reporting.pictures import file_uri
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
        **_opening(project, metrics),
        **_models(project, metrics),
        **_results(project, metrics),
        **_training(project, metrics),
        **_provenance(project),
    )


def _opening(project: Project, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "profile": project.params["profile"],
        "phantoms": summary.phantom_names(project),
        "confidence": summary.confidence(project),
        "sentences": summary.sentences(project, metrics),
        "glance_table": summary.glance_table(project, metrics),
        "datasets_table": data_tables.datasets_table(project),
        "paper_datasets_table": data_tables.paper_datasets_table(),
        "splits_table": data_tables.splits_table(metrics, project.all_datasets),
        "hearts": [strip for dataset in project.datasets for strip in gallery.hearts(project, dataset)],
        "colours": STRUCTURE_COLOURS,
        "structures": STRUCTURE_NAMES,
        "caveat": paper_values.CAVEAT,
    }


def _models(project: Project, metrics: dict[str, Any]) -> dict[str, Any]:
    return {"models": summaries.summarise(project, metrics), "tradeoff": tradeoff.trade_off(project, metrics)}


def _results(project: Project, metrics: dict[str, Any]) -> dict[str, Any]:
    compared, test_sets = setups(project), project.all_datasets
    real = f"{project.params['generators']['train_on'][0]}-real"
    return {
        "masks_table": tables.masks_table(metrics),
        "validity_table": tables.validity_table(metrics),
        "mask_strips": gallery.masks(project),
        "densities": _densities(project),
        "fidelity_table": tables.fidelity_table(metrics),
        "against_n_chart": fidelity_charts.against_n_chart(project),
        "test_grid": grids.on_test_masks(project),
        "full_grid": grids.on_generated_masks(project),
        "denoising": grids.on_the_way(project),
        "train_on": listed([dataset_name(name) for name in project.params["generators"]["train_on"]]),
        "utility_tables": [
            utility_tables.utility_table(metrics, convention, compared, test_sets) for convention in ("clinical", "paper")
        ],
        "outcomes_table": utility_tables.outcomes_table(metrics, compared, test_sets),
        "paper_utility_table": utility_tables.paper_utility_table(compared),
        "structures_table": structures.structures_table(metrics, compared, test_sets),
        "dice_chart": charts.dice_chart(metrics["utility"], compared, test_sets),
        "against_real_table": utility_tables.against_real_table(metrics, compared, test_sets, real),
        "against_real_chart": utility_charts.against_real_chart(metrics["utility"], compared, test_sets, real),
        "privacy_tables": [privacy_tables.images_table(metrics), privacy_tables.masks_table(metrics)],
        "membership_verdicts": membership_tables.verdicts(metrics),
        "membership_tables": [
            membership_tables.attacks_table(metrics),
            membership_tables.controls_table(project),
            membership_tables.match_table(project),
        ],
        "pairs": {network_name(name): gallery.closest_pairs(project, name) for name in [*project.generators, "masks"]},
    }


def _training(project: Project, metrics: dict[str, Any]) -> dict[str, Any]:
    read = (figures.get("mask_adherence_real") or {} for figures in metrics["fidelity"].values())
    return {
        "adherence_chart": curves.adherence_chart(project, next((one["value"] for one in read if one.get("value")), None)),
        "autoencoders_table": data_tables.autoencoders_table(project),
        "reconstructions": {
            network_name(name): file_uri(project.root / "runs/autoencoder" / name / "reconstructions.png")
            for name in project.latent_generators
        },
        "loss_charts": [(network_name(network.name), curves.loss_chart(network)) for network in project.networks],
        "networks_table": data_tables.networks_table(project.networks),
    }


def _provenance(project: Project) -> dict[str, Any]:
    return {
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
