"""Both reports, each one self-contained page, readable on screen and on paper, with no script and no outside host.

They share their sections, which are made of a :class:`ReportSource`; the in-house report adds what shows scans and patients.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mlops.gate import MASKS
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
from pipelines.reporting.release import Release
from pipelines.reporting.source import ReportSource

_OPENING_COLUMNS = 12  # hearts on the first screen: small, so that the figures come into view below them
_HERE = Path(__file__).parent


def render_in_house(project: Project, metrics: dict[str, Any]) -> str:
    """The page for those who may see the scans, as HTML.

    Args:
        metrics: of :func:`pipelines.reporting.metrics.gather`.

    Raises:
        DataError: a file of the project is broken, or figures and slice stores do not belong together.
    """
    return _render("in_house.html.j2", {**_shared(project, metrics), **_in_house(project)})


def render_release(release: Release, metrics: dict[str, Any]) -> str:
    """The page that may leave the house, as HTML: the sections that both have, of a project in which no scan can be reached.

    Args:
        metrics: of :func:`pipelines.reporting.metrics.gather`, gathered from ``release``.
    """
    return _render("release.html.j2", _shared(release, metrics))


def _render(template: str, content: dict[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(content)


def _shared(project: ReportSource, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        **_opening(project, metrics),
        **_models(project, metrics),
        **_results(project, metrics),
        **_training(project, metrics),
        **_provenance(project),
    }


def _in_house(project: Project) -> dict[str, Any]:
    """What shows scans, masks or names of patients, or places on this machine."""
    return {
        "opening_grid": grids.beside_real(project, _OPENING_COLUMNS),
        "named_table": data_tables.named_table(project),
        "hearts": [strip for dataset in project.datasets for strip in gallery.hearts(project, dataset)],
        "real_masks": gallery.real_masks(project),
        "test_grid": grids.on_test_masks(project),
        "denoising": grids.on_the_way(project),
        "pairs": {network_name(name): gallery.closest_pairs(project, name) for name in [*project.generators, MASKS]},
        "reconstructions": {
            network_name(name): file_uri(project.root / "runs/autoencoder" / name / "reconstructions.png")
            for name in project.latent_generators
        },
    }


def _opening(project: ReportSource, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "profile": project.params["profile"],
        "phantoms": summary.phantom_names(project),
        "confidence": summary.confidence(project),
        "sentences": summary.sentences(project, metrics),
        "opening_grid": grids.on_generated_masks(project, columns=_OPENING_COLUMNS),
        "glance_table": summary.glance_table(project, metrics),
        "datasets_table": data_tables.datasets_table(project),
        "paper_datasets_table": data_tables.paper_datasets_table(),
        "splits_table": data_tables.splits_table(metrics, project.all_datasets),
        "colours": STRUCTURE_COLOURS,
        "structures": STRUCTURE_NAMES,
        "caveat": paper_values.CAVEAT,
    }


def _models(project: ReportSource, metrics: dict[str, Any]) -> dict[str, Any]:
    return {"models": summaries.summarise(project, metrics), "tradeoff": tradeoff.trade_off(project, metrics)}


def _results(project: ReportSource, metrics: dict[str, Any]) -> dict[str, Any]:
    compared, test_sets = setups(project), project.all_datasets
    real = f"{project.params['generators']['train_on'][0]}-real"
    return {
        "masks_table": tables.masks_table(metrics),
        "validity_table": tables.validity_table(metrics),
        "generated_masks": gallery.generated_masks(project),
        "densities": charts.density_chart(found) if (found := project.densities()) is not None else "",
        "fidelity_table": tables.fidelity_table(metrics),
        "against_n_chart": fidelity_charts.against_n_chart(project),
        "full_grid": grids.on_generated_masks(project, part=1),
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
    }


def _training(project: ReportSource, metrics: dict[str, Any]) -> dict[str, Any]:
    read = (figures.get("mask_adherence_real") or {} for figures in metrics["fidelity"].values())
    return {
        "adherence_chart": curves.adherence_chart(project, next((one["value"] for one in read if one.get("value")), None)),
        "autoencoders_table": data_tables.autoencoders_table(project),
        "loss_charts": [(network_name(network.name), curves.loss_chart(network)) for network in project.networks],
        "networks_table": data_tables.networks_table(project.networks),
    }


def _provenance(project: ReportSource) -> dict[str, Any]:
    return {
        "hashes_table": data_tables.hashes_table(project.networks),
        "parameters": data_tables.parameters(project.params),
        "revision": project.revision,
        "seed": project.params["seed"],
    }
