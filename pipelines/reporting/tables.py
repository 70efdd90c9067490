"""The paper's tables of figures from this project's metrics: masks (III), fidelity (IV), utility (V) and privacy (VI)."""

from typing import Any

from cmr.labels import STRUCTURES
from pipelines.reporting import paper_values
from pipelines.reporting.cells import Cell, Column, Figure, Table, count_of, figure, number, p_value, paper, scientific, text
from pipelines.reporting.names import (
    CONVENTIONS,
    FIDELITY,
    MASK_CHECKS,
    MASK_FEATURES,
    PRIVACY,
    PRIVACY_EXTRA,
    SHARE,
    STRUCTURE_NAMES,
    Metric,
    dataset_name,
    network_name,
    setup_name,
)
from pipelines.reporting.project import PAPER_DATASETS

Nested = dict[str, Any]

_CONVENTION_TEXT = {
    "clinical": "Clinical convention: LV, MYO and RV without background, whole volumes of a patient with all slices, distances "
    "in mm; a missed structure counts as Dice 0 and as the volume's diagonal.",
    "paper": "The paper's convention: slice by slice, background included, distances in pixels, non-finite values dropped "
    "(so that misses are left out of the distances). Not to be compared with the clinical table.",
}


def masks_table(metrics: Nested) -> Table:
    """Real against generated shape figures per structure (paper, Table III)."""
    columns = [
        Column("Feature"),
        Column("Real", f"training{_mask_count(metrics['masks'], 'real')}"),
        Column("Floor", f"test{_mask_count(metrics['masks'], 'floor')}"),
        Column("Generated", f"mask DDPM{_mask_count(metrics['masks'], 'generated')}"),
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
    counts = [count_of([masks.get(name)]) for name in ("valid_share_real", "valid_share")]
    columns = [Column("Check"), Column("Real", counts[0] or "training"), Column("Generated", counts[1] or "mask DDPM")]
    caption = "Masks that pass the anatomical checks, in %. Real masks fail some of them too: the ring is open near the base."
    return Table(caption, columns, rows)


def fidelity_table(metrics: Nested) -> Table:
    """Images made from the test masks against the real slices of those masks (paper, Table IV)."""
    fidelity = metrics["fidelity"]
    names = list(fidelity)
    floor: Nested = next((fidelity[name]["floor"] for name in names if fidelity[name].get("floor")), {})
    columns = [
        Column("Metric"),
        *(Column(network_name(name), "synthetic") for name in names),
        Column("Floor", "real against real"),
        Column("N", "pairs"),
        *(Column(network_name(name), "as printed") for name in names),
    ]
    rows = []
    for key, metric in _rows_of(FIDELITY, list(fidelity.values())).items():
        own = [figure(fidelity[name].get(key), metric) for name in names]
        base = figure(floor.get(key) or _no_floor(fidelity[names[0]].get(key)), metric, kind="floor")
        count = count_of([fidelity[name].get(key) for name in names]).removeprefix("N = ")
        printed = [paper(paper_values.TABLE_IV.get(name, {}).get(key)) for name in names]
        rows.append([metric_label(metric), *own, base, text(count, "count"), *printed])
    caption = (
        "Each synthetic image against the real test slice whose mask it was made from. The floor is the same comparison "
        "between that real slice and the real slice of another patient with the most similar mask."
    )
    return Table(caption, columns, rows, [("", 1), ("This run", len(names) + 2), ("Paper, Table IV", len(names))])


def _rows_of(known: dict[str, Metric], figures: list[Nested]) -> dict[str, Metric]:
    """The known metrics, then any that the stages give beyond them, under their own names."""
    given = [key for one in figures for key, value in one.items() if isinstance(value, dict) and "value" in value]
    return {**known, **{key: Metric(key, digits=3) for key in given if key not in known}}


def _no_floor(value: Figure | None) -> Figure:
    known = (value or {}).get("value") is not None
    return {"value": None, "reason": "no floor is defined for this figure" if known else (value or {}).get("reason")}


def utility_table(metrics: Nested, convention: str, setups: list[str], test_sets: list[str]) -> Table:
    """Segmenters by training setup, on every test set, in one convention (paper, Table V)."""
    utility, specs = metrics["utility"], CONVENTIONS[convention]
    best = {(test, key): _best(utility, setups, test, convention, key) for test in test_sets for key in specs}
    columns = [Column("Trained on")]
    groups = [("", 1)]
    for test in test_sets:
        columns += [Column(f"{metric.name} {metric.arrow}", metric.unit) for metric in specs.values()]
        count = count_of([utility[setup][test][convention].get(key) for setup in setups for key in specs])
        groups.append((f"{dataset_name(test)} test" + (f" ({count})" if count else ""), len(specs)))
    rows = []
    for setup in setups:
        cells = [text(setup_name(setup), "label")]
        for test in test_sets:
            scores = utility[setup][test][convention]
            cells += [
                figure(scores.get(key), metric, "best" if best[test, key] == setup else "") for key, metric in specs.items()
            ]
        rows.append(cells)
    notes = ["The best synthetic setup of each column is in bold."] if any(best.values()) else []
    return Table(_CONVENTION_TEXT[convention], columns, rows, groups, notes)


def outcomes_table(metrics: Nested, setups: list[str], test_sets: list[str]) -> Table:
    """What the clinical means are made of: structures missed, found where there are none, absent from both."""
    outcomes = {"misses": "missed", "false_finds": "false finds", "both_empty": "both empty"}
    columns = [Column("Trained on")]
    groups = [("", 1)]
    for test in test_sets:
        figures = [metrics["utility"][setup][test]["clinical"].get("misses") for setup in setups]
        columns += [Column(name) for name in outcomes.values()]
        cases = count_of(figures)
        groups.append((f"{dataset_name(test)} test" + (f" ({cases} structures of a frame)" if cases else ""), len(outcomes)))
    whole = Metric("count", digits=0)
    rows = []
    for setup in setups:
        cells = [text(setup_name(setup), "label")]
        for test in test_sets:
            clinical = metrics["utility"][setup][test]["clinical"]
            cells += [figure(clinical.get(key, clinical["dice"]), whole) for key in outcomes]
        rows.append(cells)
    caption = "Structures that a segmenter missed or invented. Both-empty cases enter no mean."
    return Table(caption, columns, rows, groups)


def paper_utility_table(setups: list[str]) -> Table:
    """The paper's Table V for the setups of this project, as printed."""
    specs = CONVENTIONS["paper"]
    columns = [Column("Trained on")]
    columns += [Column(f"{metric.name} {metric.arrow}", metric.unit) for _ in PAPER_DATASETS for metric in specs.values()]
    rows = []
    for setup in setups:
        printed = paper_values.TABLE_V.get(setup, {})
        cells = [paper(value) for test in PAPER_DATASETS for value in printed.get(test, (None,) * len(specs))]
        rows.append([text(setup_name(setup), "label"), *cells])
    groups = [("", 1), *((f"{dataset_name(test)} test", len(specs)) for test in PAPER_DATASETS)]
    return Table("The paper's Table V as printed, in its own convention.", columns, rows, groups)


def _best(utility: Nested, setups: list[str], test: str, convention: str, key: str) -> str:
    """The synthetic setup with the best figure; empty when fewer than two of them have one."""
    values: dict[str, float] = {}
    for setup in setups:
        value = (utility[setup][test][convention].get(key) or {}).get("value")
        if value is not None and not setup.endswith("-real"):
            values[setup] = value
    if len(values) < 2:
        return ""
    choose = max if CONVENTIONS[convention][key].arrow == "↑" else min
    return choose(values, key=lambda setup: values[setup])


def privacy_table(metrics: Nested) -> Table:
    """Nearest-neighbour and membership figures with what an innocent generator would show (paper, Table VI)."""
    privacy = metrics["privacy"]
    names = list(privacy)
    generators = [name for name in names if name != "masks"]
    columns = [
        Column("Figure"),
        *(column for name in names for column in (Column(network_name(name), _privacy_count(privacy[name])), Column("Floor"))),
        Column("Ideal", kind="prose"),
        *(Column(network_name(name), "as printed") for name in generators),
    ]
    rows = []
    for key, metric in _privacy_rows(privacy).items():
        own = [cell for name in names for cell in _with_floor(privacy[name], name, key, metric)]
        printed = [paper(paper_values.TABLE_VI.get(name, {}).get(key)) for name in generators]
        rows.append([metric_label(metric), *own, text(metric.ideal, "ideal"), *printed])
    caption = (
        "Images made from synthetic masks (Full-Syn), and the synthetic masks themselves, against the training patients and "
        "against hold-out patients whom no network has seen. The floor is the same figure of the hold-out patients themselves: "
        "real images that cannot have been remembered."
    )
    return Table(caption, columns, rows, [("", 1), ("This run", 2 * len(names)), ("", 1), ("Paper, Table VI", len(generators))])


def _privacy_rows(privacy: Nested) -> dict[str, Metric]:
    """The known metrics, each followed by those of its variants that a stage gives; then any others."""
    given = {key: metric for key, metric in PRIVACY_EXTRA.items() if any(key in figures for figures in privacy.values())}
    known: dict[str, Metric] = {}
    for key, metric in PRIVACY.items():
        known |= {key: metric, **{name: variant for name, variant in given.items() if name.startswith(f"{key}_")}}
    return _rows_of(known, list(privacy.values()))


def _with_floor(figures: Nested, name: str, key: str, metric: Metric) -> list[Cell]:
    value = figures.get(key, _not_defined(name))
    floor = (figures.get("floor") or {}).get(key) or _no_floor(value)
    return [figure(value, metric), figure(floor, metric, "floor")]


def _privacy_count(figures: Nested) -> str:
    return count_of([figures.get("nn_l2")])


def _not_defined(name: str) -> Figure:
    return {"value": None, "reason": "defined for masks only" if name != "masks" else "defined for images only"}


def metric_label(metric: Metric) -> Cell:
    """A row's heading: name, direction, unit."""
    return Cell(f"{metric.name} {metric.arrow}".strip(), interval=metric.unit, title=metric.better, kind="label")
