"""Utility from this project's metrics, in both conventions, and what the paper printed (Table V)."""

from typing import Any

from pipelines.reporting import paper_values
from pipelines.reporting.cells import Column, Table, count_of, figure, paper, text
from pipelines.reporting.names import AGAINST_REAL, CONVENTIONS, Metric, dataset_name, setup_name
from pipelines.reporting.source import PAPER_DATASETS

Nested = dict[str, Any]

_CONVENTION_TEXT = {
    "clinical": "Clinical convention: LV, MYO and RV without background, whole volumes of a patient with all slices, distances "
    "in mm; a missed structure counts as Dice 0 and as the volume's diagonal.",
    "paper": "The paper's convention: slice by slice, background included, distances in pixels, non-finite values dropped "
    "(so that misses are left out of the distances). Not to be compared with the clinical table.",
}


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


def against_real_table(metrics: Nested, setups: list[str], test_sets: list[str], real: str) -> Table:
    """Each training beside the one on real slices, ``real``, on the same test patients."""
    columns = [Column("Trained on")]
    groups = [("", 1)]
    for test in test_sets:
        columns += [Column(f"{metric.name} {metric.arrow}", metric.ideal) for metric in AGAINST_REAL.values()]
        groups.append((f"{dataset_name(test)} test", len(AGAINST_REAL)))
    rows = [
        [text(setup_name(setup), "label")]
        + [
            figure(metrics["utility"][setup][test]["clinical"].get(key), metric)
            for test in test_sets
            for key, metric in AGAINST_REAL.items()
        ]
        for setup in setups
        if setup != real
    ]
    caption = (
        f"Clinical Dice less, and divided by, that of the segmenter trained on {setup_name(real)}. Patients are resampled with "
        "their scores of both segmenters: where the interval of the difference holds 0, the test patients do not tell the two "
        "apart."
    )
    return Table(caption, columns, rows, groups)


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
    """The paper's Table V as printed, for those setups of this project that are in it."""
    specs = CONVENTIONS["paper"]
    columns = [Column("Trained on")]
    columns += [Column(f"{metric.name} {metric.arrow}", metric.unit) for _ in PAPER_DATASETS for metric in specs.values()]
    rows = []
    for setup in filter(paper_values.TABLE_V.get, setups):
        cells = [paper(value) for test in PAPER_DATASETS for value in paper_values.TABLE_V[setup][test]]
        rows.append([text(setup_name(setup), "label"), *cells])
    groups = [("", 1), *((f"{dataset_name(test)} test", len(specs)) for test in PAPER_DATASETS)]
    return Table("The paper's Table V as printed, in its own convention.", columns, rows, groups)


def _best(utility: Nested, setups: list[str], test: str, convention: str, key: str) -> str:
    """The synthetic setup with the best figure; empty when fewer than two of them have one."""
    values: dict[str, float] = {}
    for setup in setups:
        value = (utility[setup][test][convention].get(key) or {}).get("value")
        if value is not None and "-real" not in setup:
            values[setup] = value
    if len(values) < 2:
        return ""
    choose = max if CONVENTIONS[convention][key].arrow == "↑" else min
    return choose(values, key=lambda setup: values[setup])
