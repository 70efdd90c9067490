"""The opening of the page: what was run, in words, and the handful of figures to look at first."""

from dataclasses import dataclass, replace
from typing import Any

from pipelines.reporting.cells import number
from pipelines.reporting.data_tables import duration
from pipelines.reporting.names import CLINICAL, FIDELITY, PRIVACY, SHARE, Metric, dataset_name, network_name, setup_name
from pipelines.reporting.project import Project

Nested = dict[str, Any]


@dataclass(frozen=True)
class Headline:
    """One figure in large type; ``beside`` is what it is to be read against."""

    name: str
    value: str
    interval: str
    beside: str


def sentences(project: Project, metrics: Nested) -> list[str]:
    """What was run, with which data and budget."""
    return [sentence for sentence in (_data(project, metrics), _training(project), _budget(project)) if sentence]


def confidence(project: Project) -> str:
    """The confidence of all intervals: ``95 %``."""
    return f"{100 * float(project.params['evaluation']['confidence']):g} %"


def phantom_names(project: Project) -> list[str]:
    """The datasets that are phantoms, as the page calls them."""
    return [dataset_name(name) for name in project.datasets if project.is_phantom(name)]


def headlines(project: Project, metrics: Nested) -> list[Headline]:
    """Masks, fidelity, utility and privacy of each generator: those of them that have a figure."""
    found: list[Headline | None] = [
        _headline("Valid generated masks", metrics["masks"]["valid_share"], SHARE, _real_masks(metrics["masks"]), " %")
    ]
    for name in project.generators:
        fidelity, privacy = metrics["fidelity"][name], metrics["privacy"][name]
        floor = (fidelity.get("floor") or {}).get("ssim") or {}
        beside = f"real against other real: {number(floor['value'], FIDELITY['ssim'])}" if _known(floor) else "higher is better"
        called = network_name(name)
        found.append(_headline(f"{called} · SSIM", fidelity["ssim"], FIDELITY["ssim"], beside))
        found += [_utility(project, metrics, name, test) for test in project.datasets]
        closer = "50 % for a generator that remembers nobody"
        found.append(
            _headline(f"{called} · closer to training", privacy["closer_to_train"], PRIVACY["closer_to_train"], closer, " %")
        )
    return [replace(one, interval=f"{confidence(project)}: {one.interval}" if one.interval else "") for one in found if one]


def _data(project: Project, metrics: Nested) -> str:
    parts = []
    for dataset in project.datasets:
        counts = metrics["data"][dataset].values()
        patients = [split["patients"] for split in counts if isinstance(split["patients"], int)]
        slices = [split["slices"] for split in counts if isinstance(split["slices"], int)]
        kind = "phantoms" if project.is_phantom(dataset) else "patients"
        parts.append(f"{dataset_name(dataset)} ({sum(patients)} {kind}, {sum(slices)} labelled slices)")
    size, view = project.params["slices"]["size"], project.params["slices"]["field_of_view_mm"]
    return (
        f"Data: {' and '.join(parts)}, as {size} × {size} pixel slices of {view:g} × {view:g} mm "
        f"({view / size:.3g} mm a pixel), with the profile “{project.params['profile']}” and seed {project.params['seed']}."
    )


def _training(project: Project) -> str:
    train_on = " and ".join(dataset_name(name) for name in project.params["generators"]["train_on"])
    generators = " and ".join(network_name(name) for name in project.generators)
    count = len(project.params["utility"]["setups"])
    return (
        f"A diffusion model of masks and {len(project.generators)} image generator{'s' if len(project.generators) > 1 else ''} "
        f"({generators}) were trained on {train_on}; {count} segmenters were trained on real or synthetic slices and tested on "
        "real slices only."
    )


def _budget(project: Project) -> str:
    if not project.networks:
        return "No network has been trained yet."
    seconds = sum(float(network.record.get("seconds", 0)) for network in project.networks)
    steps = sum(int(network.record.get("steps", 0)) for network in project.networks)
    devices = " and ".join(sorted({str(network.record.get("device", "unknown")) for network in project.networks}))
    count = f"{steps:,}".replace(",", "\u202f")
    networks = f"{len(project.networks)} networks"
    return f"Budget: {networks}, {count} optimisation steps and {duration(seconds)} (h:min:s) of training in all, on {devices}."


def _utility(project: Project, metrics: Nested, generator: str, test: str) -> Headline | None:
    """The best synthetic setup of the generator on a test set, beside the real training of that dataset."""
    scores = {
        setup: figures[test]["clinical"]["dice"]
        for setup, figures in metrics["utility"].items()
        if setup.startswith(f"{generator}-") and _known(figures[test]["clinical"]["dice"])
    }
    if not scores:
        return None
    best = max(scores, key=lambda setup: scores[setup]["value"])
    real = metrics["utility"].get(f"{test}-real", {}).get(test, {}).get("clinical", {}).get("dice", {})
    beside = f"best of {len(scores)} synthetic setups"
    if _known(real):
        beside += f"; {setup_name(f'{test}-real')}: {number(real['value'], CLINICAL['dice'])}"
    return _headline(f"{setup_name(best)} · Dice on {dataset_name(test)}", scores[best], CLINICAL["dice"], beside)


def _real_masks(masks: Nested) -> str:
    real = masks.get("valid_share_real", {})
    return f"real masks: {number(real['value'], SHARE)} %" if _known(real) else "anatomical checks"


def _known(figure: Nested) -> bool:
    return figure.get("value") is not None


def _headline(name: str, figure: Nested, metric: Metric, beside: str, unit: str = "") -> Headline | None:
    if not _known(figure):
        return None
    low, high = figure.get("ci_low"), figure.get("ci_high")
    interval = "" if low is None or high is None else f"{number(low, metric)} – {number(high, metric)}"
    return Headline(
        name, number(figure["value"], metric) + (unit or (f" {metric.unit}" if metric.unit else "")), interval, beside
    )
