"""Masks (paper, Table III) and fidelity (Table IV) from this project's metrics, and what all tables of figures share."""

from dataclasses import replace
from typing import Any

from cmr.labels import STRUCTURES
from pipelines.reporting import paper_values
from pipelines.reporting.cells import Cell, Column, Figure, Table, count_of, figure, number, p_value, paper, scientific, text
from pipelines.reporting.names import (
    FIDELITY,
    FIDELITY_EXTRA,
    MASK_CHECKS,
    MASK_FEATURES,
    SHARE,
    STRUCTURE_NAMES,
    UNPAIRED,
    Metric,
    dataset_name,
    network_name,
)

Nested = dict[str, Any]


def masks_table(metrics: Nested) -> Table:
    """Real against generated shape figures per structure (paper, Table III)."""
    columns = [
        Column("Feature"),
        Column("Real", f"training{_mask_count(metrics['masks'], 'real')}"),
        Column("Floor", f"test{_mask_count(metrics['masks'], 'floor')}"),
        Column("Generated", f"mask model{_mask_count(metrics['masks'], 'generated')}"),
        Column("KS D", "0: the same"),
        Column("p", "KS test"),
        Column("p", "by patient, Holm"),
        Column("Real"),
        Column("Generated"),
        Column("p", "KS test"),
    ]
    rows: list[list[Cell]] = []
    for structure in STRUCTURES:
        rows.append([text(f"{structure} · {STRUCTURE_NAMES[structure]}", kind=f"structure {structure.lower()}")])
        for feature, metric in MASK_FEATURES.items():
            row = metrics["masks"][structure][feature]
            own = [figure(row.get(part), metric) for part in ("real", "floor", "generated")]
            tests = [figure(row["ks_d"], Metric("D")), p_value(row["p_value"]), p_value(row.get("p_value_permutation_holm"))]
            real, generated, p = paper_values.TABLE_III[structure][feature]
            printed = [paper(number(value, metric)) for value in (real, generated)]
            rows.append([metric_label(metric), *own, *tests, *printed, paper(scientific(p))])
    caption = "Shape of the largest piece of each structure: means over the masks that show it."
    notes = [
        "p by patient: KS test by permuting patients, Holm-corrected over the 15 tests; the plain KS test takes the slices of "
        "a patient for independent and finds differences too easily."
    ]
    return Table(caption, columns, rows, [("", 1), ("This run", 6), ("Paper, Table III", 3)], notes)


def _mask_count(masks: Nested, part: str) -> str:
    count = count_of([masks[structure][feature].get(part) for structure in STRUCTURES for feature in MASK_FEATURES])
    return f", {count}" if count else ""


def validity_table(metrics: Nested) -> Table:
    """The share of masks that pass each anatomical check."""
    masks = metrics["masks"]
    rows = []
    for check, name in MASK_CHECKS.items():
        shares = masks.get("validity", {}).get(check, {})
        rows.append([text(name, "label"), *(figure(shares.get(kind), SHARE) for kind in ("real", "generated"))])
    overall = [figure(masks.get("valid_share_real"), SHARE, "total"), figure(masks["valid_share"], SHARE, "total")]
    rows.append([text("valid: all of them", "label total"), *overall])
    notes: list[str] = []
    real: Figure
    if "valid_share_first_draw" in masks:
        real = {"value": None, "reason": "real masks are not drawn"}
        first = [figure(real, SHARE), figure(masks["valid_share_first_draw"], SHARE)]
        rows.append([text("valid at the first draw", "label"), *first])
        again, stayed = (masks[name] for name in ("drawn_again", "stayed_invalid"))
        notes = [
            f"The filter was on: {again['value']:.0f} of {again['n']} masks were drawn again because they were not valid; "
            f"{stayed['value']:.0f} were not after their last draw either, and stayed."
        ]
    if "cleaned_share" in masks:
        real = {"value": None, "reason": "real masks are not cleaned up"}
        rows.append([text("changed by cleaning up", "label"), figure(real, SHARE), figure(masks["cleaned_share"], SHARE)])
        notes.append("Generated masks were cleaned up: one piece a structure, holes filled. The checks are of what is left.")
    counts = [count_of([masks.get(name)]) for name in ("valid_share_real", "valid_share")]
    columns = [Column("Check"), Column("Real", counts[0] or "training"), Column("Generated", counts[1] or "mask model")]
    caption = "Masks that pass the anatomical checks, in %. Real masks fail some of them too: the ring is open near the base."
    return Table(caption, columns, rows, notes=notes)


def fidelity_table(metrics: Nested) -> Table:
    """Images made from the test masks against the real slices of those masks, one by one and as crowds (paper, Table IV)."""
    fidelity = {name: _with_full(figures) for name, figures in metrics["fidelity"].items()}
    names, printed_names = list(fidelity), [name for name in fidelity if name in paper_values.TABLE_IV]
    floor = shared_floor(fidelity)
    others: Nested = next((one["floor_datasets"] for one in fidelity.values() if one.get("floor_datasets")), {})
    columns = [
        Column("Metric"),
        *(Column(network_name(name), "synthetic") for name in names),
        Column("Floor", "real against real"),
        *(Column(f"{dataset_name(dataset)} test", "real, another dataset") for dataset in others),
        Column("N", "pairs, or images a side"),
        *(Column(network_name(name), "as printed") for name in printed_names),
    ]
    rows = []
    known = with_variants(FIDELITY, FIDELITY_EXTRA | _of_full(), list(fidelity.values()))
    for key, metric in known.items():
        values = [fidelity[name].get(key) for name in names]
        base = figure(floor.get(key) or no_floor(values), metric, kind="floor")
        beside = [figure(one.get(key) or no_floor(values), metric, kind="floor") for one in others.values()]
        count = count_of(values).removeprefix("N = ")
        printed = [paper(paper_values.TABLE_IV[name].get(key)) for name in printed_names]
        cells = [*(figure(value, metric) for value in values), base, *beside, text(count, "count"), *printed]
        rows.append([metric_label(metric), *cells])
    caption = (
        "Each synthetic image against the real test slice whose mask it was made from; from FID on, all of them together "
        "against all test slices. The floor is the same comparison of real slices: one by one, with the real slice of another "
        "patient with the most similar mask; together, training slices against the test slices."
    )
    notes = [
        "Mask adherence: Dice between the mask and what a segmenter trained on real slices reads in the image. Its yardsticks: "
        "what the segmenter reads in the real slices, and the same images against the masks of other patients.",
        "FID and the segmenter's Fréchet distance are the larger the fewer images there are: compare them at one N only, and "
        "read KID beside them, which has no such bias and can be negative. Full-Syn: images of generated masks.",
    ]
    groups = [("", 1), ("This run", len(names) + 2 + len(others)), *paper_group("Table IV", printed_names)]
    return Table(caption, columns, rows, groups, notes)


def _with_full(figures: Nested) -> Nested:
    """With the figures of Full-Syn beside those of the test masks: ``full.fid`` as ``fid_full``."""
    return figures | {f"{key}_full": one for key, one in figures.get("full", {}).items()}


def _of_full() -> dict[str, Metric]:
    return {f"{key}_full": replace(FIDELITY[key], name="… of Full-Syn", unit="") for key in UNPAIRED}


def with_variants(known: dict[str, Metric], extra: dict[str, Metric], figures: list[Nested]) -> dict[str, Metric]:
    """The known metrics, each followed by those of its variants that a stage gives; then any others, under their own names."""
    given = [key for one in figures for key, value in one.items() if isinstance(value, dict) and "value" in value]
    found: dict[str, Metric] = {}
    for key, metric in known.items():
        found |= {key: metric, **{name: one for name, one in extra.items() if name in given and name.startswith(f"{key}_")}}
    return {**found, **{key: extra.get(key, Metric(key, digits=3)) for key in given if key not in found}}


def shared_floor(by_generator: Nested) -> Nested:
    """The floor figures, which are of real data alone and so the same for every generator; those of the first that has any."""
    return next((figures["floor"] for figures in by_generator.values() if figures.get("floor")), {})


def no_floor(values: list[Figure | None]) -> Figure:
    """Why a metric has no floor: none is defined, or the figure itself is missing."""
    missing = [(value or {}).get("reason") for value in values if (value or {}).get("value") is None]
    return {"value": None, "reason": missing[0] if len(missing) == len(values) else "no floor is defined for this figure"}


def paper_group(table: str, printed: list[str]) -> list[tuple[str, int]]:
    """The heading over the columns of the paper's own figures; none where it printed nothing of these generators."""
    return [(f"Paper, {table}", len(printed))] if printed else []


def metric_label(metric: Metric) -> Cell:
    """A row's heading: name, direction, unit."""
    return Cell(f"{metric.name} {metric.arrow}".strip(), interval=metric.unit, title=metric.better, kind="label")
