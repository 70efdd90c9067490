"""Utility structure by structure: Dice of LV, MYO and RV after each training, on every test set."""

from typing import Any

from cmr.labels import STRUCTURES
from pipelines.reporting.cells import Column, Table, count_of, figure, text
from pipelines.reporting.names import CLINICAL, dataset_name, setup_name

Nested = dict[str, Any]


def structures_table(metrics: Nested, setups: list[str], test_sets: list[str]) -> Table:
    """Clinical Dice of each structure by training setup; a structure without a figure gives the reason of the mean over all."""
    dice = CLINICAL["dice"]
    columns, groups = [Column("Trained on")], [("", 1)]
    for test in test_sets:
        clinical = [metrics["utility"][setup][test]["clinical"] for setup in setups]
        count = count_of([one.get(structure, {}).get("dice") for one in clinical for structure in STRUCTURES])
        columns += [Column(f"{structure} {dice.arrow}") for structure in STRUCTURES]
        groups.append((f"{dataset_name(test)} test" + (f" ({count} volumes)" if count else ""), len(STRUCTURES)))
    rows = []
    for setup in setups:
        cells = [text(setup_name(setup), "label")]
        for test in test_sets:
            one = metrics["utility"][setup][test]["clinical"]
            cells += [figure((one.get(structure) or one).get("dice"), dice) for structure in STRUCTURES]
        rows.append(cells)
    return Table("Clinical Dice of each structure, the mean over the volumes that have it.", columns, rows, groups)
