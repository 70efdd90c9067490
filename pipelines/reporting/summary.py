"""The opening of the page: what was run, in words, and the handful of figures to look at first."""

from dataclasses import replace
from typing import Any

from pipelines.reporting.cells import Cell, Column, Table, figure, number, text
from pipelines.reporting.data_tables import duration
from pipelines.reporting.names import (
    CLINICAL,
    FIDELITY,
    HIGHER,
    SHARE,
    Metric,
    dataset_name,
    listed,
    network_name,
    setup_name,
)
from pipelines.reporting.source import ReportSource
from pipelines.reporting.tables import shared_floor

Nested = dict[str, Any]


def sentences(project: ReportSource, metrics: Nested) -> list[str]:
    """What was run, with which data and budget, and whether the masks are hearts."""
    found = (_data(project, metrics), _training(project), _budget(project), _masks(metrics))
    return [sentence for sentence in found if sentence]


def confidence(project: ReportSource) -> str:
    """The confidence of all intervals: ``95 %``."""
    return f"{100 * float(project.params['evaluation']['confidence']):g} %"


def phantom_names(project: ReportSource) -> list[str]:
    """The datasets that are phantoms, as the page calls them."""
    return [dataset_name(name) for name in project.datasets if name in project.phantoms]


def glance_table(project: ReportSource, metrics: Nested) -> Table | None:
    """The handful of figures to look at first, the generators side by side; None as long as there are none."""
    fidelity, privacy = metrics["fidelity"], metrics["privacy"]
    rows = [
        _row("Images follow their masks", FIDELITY["mask_adherence"], _each(fidelity, "mask_adherence"), _adherence(fidelity)),
        _row("Likeness to the real slice", FIDELITY["ssim"], _each(fidelity, "ssim"), _floor(fidelity)),
        *(_utility(project, metrics, test) for test in project.datasets),
        _row(
            "Images nearer to training",
            Metric("than to hold-out patients, %", digits=1, scale=100),
            [privacy[name].get("closer_to_train") for name in project.generators],
            "50 % for a generator that remembers nobody",
        ),
    ]
    if all(cell.reason for row in rows for cell in row[1:-1]):
        return None
    columns = [Column("Figure"), *(Column(network_name(name)) for name in project.generators), Column("Beside", kind="prose")]
    return Table("The generators side by side.", columns, rows)


def _row(name: str, metric: Metric, values: list[Nested | None], beside: str) -> list[Cell]:
    label = Cell(name, interval=f"{metric.name} {metric.arrow}".strip(), title=metric.better, kind="label")
    return [label, *(figure(value, metric) for value in values), text(beside, "ideal")]


def _each(by_generator: Nested, key: str) -> list[Nested | None]:
    return [figures.get(key) for figures in by_generator.values()]


def _adherence(fidelity: Nested) -> str:
    """The yardsticks of mask adherence: real slices (the same for all generators) and the range of the shuffled masks."""
    metric = FIDELITY["mask_adherence"]
    real = [one["value"] for one in _each(fidelity, "mask_adherence_real") if one and _known(one)]
    shuffled = [one["value"] for one in _each(fidelity, "mask_adherence_shuffled") if one and _known(one)]
    parts = [f"real slices: {number(real[0], metric)}"] if real else ["1 is perfect"]
    if shuffled:
        ends = dict.fromkeys(number(end(shuffled), metric) for end in (min, max))
        parts.append(f"others' masks: {' – '.join(ends)}")
    return "; ".join(parts)


def _floor(fidelity: Nested) -> str:
    floor = shared_floor(fidelity).get("ssim") or {}
    return f"real against other real: {number(floor['value'], FIDELITY['ssim'])}" if _known(floor) else "1 is identical"


def _utility(project: ReportSource, metrics: Nested, test: str) -> list[Cell]:
    """The best synthetic training set of each generator on a test set, beside the real training of that dataset."""
    scores = {setup: figures[test]["clinical"]["dice"] for setup, figures in metrics["utility"].items()}
    cells = []
    for name in project.generators:
        own = {setup: score for setup, score in scores.items() if setup.rpartition("-")[0] == name}
        best = max(own, key=lambda setup: own[setup]["value"] if _known(own[setup]) else -1.0)
        cell = figure(own[best], CLINICAL["dice"])
        source = setup_name(best).rpartition(" · ")[2]
        cells.append(replace(cell, interval=" · ".join(filter(None, [cell.interval, source]))) if _known(own[best]) else cell)
    real = scores.get(f"{test}-real", {})
    beside = f"{setup_name(f'{test}-real')}: {number(real['value'], CLINICAL['dice'])}" if _known(real) else "1 is perfect"
    label = Cell(f"Dice on {dataset_name(test)} test", interval="segmenter, best synthetic set ↑", title=HIGHER, kind="label")
    return [label, *cells, text(beside, "ideal")]


def _data(project: ReportSource, metrics: Nested) -> str:
    parts = []
    for dataset in project.datasets:
        counts = metrics["data"][dataset].values()
        patients = [split["patients"] for split in counts if isinstance(split["patients"], int)]
        slices = [split["slices"] for split in counts if isinstance(split["slices"], int)]
        kind = "phantoms" if dataset in project.phantoms else "patients"
        parts.append(f"{dataset_name(dataset)} ({sum(patients)} {kind}, {sum(slices)} labelled slices)")
    size, view = project.params["slices"]["size"], project.params["slices"]["field_of_view_mm"]
    return (
        f"Data: {listed(parts)}, as {size} × {size} pixel slices of {view:g} × {view:g} mm "
        f"({view / size:.3g} mm a pixel), with the profile “{project.params['profile']}” and seed {project.params['seed']}."
    )


def _training(project: ReportSource) -> str:
    train_on = listed([dataset_name(name) for name in project.params["generators"]["train_on"]])
    generators = listed([network_name(name) for name in project.generators])
    count = len(project.params["utility"]["setups"])
    return (
        f"A diffusion model of masks and {len(project.generators)} image generator{'s' if len(project.generators) > 1 else ''} "
        f"({generators}) were trained on {train_on}; {count} segmenters were trained on real or synthetic slices and tested on "
        "real slices only."
    )


def _budget(project: ReportSource) -> str:
    if not project.networks:
        return "No network has been trained yet."
    seconds = sum(float(network.record.get("seconds", 0)) for network in project.networks)
    steps = sum(int(network.record.get("steps", 0)) for network in project.networks)
    devices = listed(sorted({str(network.record.get("device", "unknown")) for network in project.networks}))
    count = f"{steps:,}".replace(",", "\u202f")
    networks = f"{len(project.networks)} networks"
    return f"Budget: {networks}, {count} optimisation steps and {duration(seconds)} (h:min:s) of training in all, on {devices}."


def _masks(metrics: Nested) -> str:
    share, real = (metrics["masks"].get(name) or {} for name in ("valid_share", "valid_share_real"))
    if not _known(share):
        return ""
    beside = f"; of the real ones, {number(real['value'], SHARE)} %" if _known(real) else ""
    return f"Anatomically valid masks: {number(share['value'], SHARE)} % of the generated ones{beside}."


def _known(figure: Nested) -> bool:
    return figure.get("value") is not None
