"""Privacy from this project's metrics (paper, Table VI)."""

from typing import Any

from pipelines.reporting import paper_values
from pipelines.reporting.cells import Column, Table, count_of, figure, paper, text
from pipelines.reporting.names import PRIVACY, PRIVACY_EXTRA, network_name
from pipelines.reporting.tables import metric_label, no_floor, paper_group, shared_floor, with_variants

Nested = dict[str, Any]


def images_table(metrics: Nested) -> Table:
    """The generators' nearest-neighbour and membership figures, with what an innocent one would show (paper, Table VI)."""
    images = {name: figures for name, figures in metrics["privacy"].items() if name != "masks"}
    caption = (
        "Images made from synthetic masks (Full-Syn) against the training patients and against hold-out patients whom no "
        "network has seen. The floor is the same figure of real images that cannot have been remembered: distances of the "
        "hold-out patients, shares and C_T of the test patients."
    )
    return _table(caption, images, [name for name in PRIVACY if name != "nn_dice"])


def masks_table(metrics: Nested) -> Table:
    """The same for the synthetic masks of the mask model."""
    caption = "The synthetic masks against those of the training patients and of the hold-out patients."
    return _table(caption, {"masks": metrics["privacy"]["masks"]}, [name for name in PRIVACY if name != "nn_lpips"])


def _table(caption: str, figures: Nested, names: list[str]) -> Table:
    figures = {name: _flat(one) for name, one in figures.items()}
    printed = [name for name in figures if name in paper_values.TABLE_VI]
    columns = [
        Column("Figure"),
        *(Column(network_name(name), count_of([one.get("nn_l2")])) for name, one in figures.items()),
        Column("Floor", "hold-out or test"),
        Column("Ideal", kind="prose"),
        *(Column(network_name(name), "as printed") for name in printed),
    ]
    rows = []
    for key, metric in with_variants({name: PRIVACY[name] for name in names}, PRIVACY_EXTRA, list(figures.values())).items():
        values = [one.get(key) for one in figures.values()]
        floor = shared_floor(figures).get(key) or no_floor(values)
        cells = [*(figure(value, metric) for value in values), figure(floor, metric, "floor"), text(metric.ideal, "ideal")]
        cells += [paper(paper_values.TABLE_VI[name].get(key)) for name in printed]
        rows.append([metric_label(metric), *cells])
    return Table(caption, columns, rows, [("", 1), ("This run", len(figures) + 2), *paper_group("Table VI", printed)])


def _flat(figures: Nested) -> Nested:
    """With the figures by LPIPS, and those against flipped and turned training images, beside the others; floors likewise."""
    floors, flat = figures.get("floor", {}), figures
    for kind in ("lpips", "augmented"):
        below = figures.get(kind, {})
        flat = flat | _named(kind, {key: one for key, one in below.items() if key != "floor"})
        floors = floors | _named(kind, below.get("floor", {}))
    return flat | ({"floor": floors} if "floor" in figures else {})


def _named(kind: str, figures: Nested) -> Nested:
    return {name: one for key, one in figures.items() if (name := f"{kind}_{key}") in PRIVACY_EXTRA}
