"""What can be taken away from the report: every figure as tidy CSV and JSON, the gate's verdicts, the tables in LaTeX."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from mlops.gate import passes
from pipelines.reporting import data_tables, latex, privacy_tables, structures, summaries, tables, utility_tables
from pipelines.reporting.cells import Table
from pipelines.reporting.metrics import setups
from pipelines.reporting.source import ReportSource

Nested = dict[str, Any]
COLUMNS = ("group", "model", "metric", "value", "ci_low", "ci_high", "n", "reason")


def write_tables(folder: Path, project: ReportSource, metrics: Nested) -> None:
    """Fill an empty ``folder``: metrics.csv, metrics.json, gate.json, and a .tex file for each of :func:`paper_tables`."""
    figures = tidy(metrics)
    figures.to_csv(folder / "metrics.csv", index=False)
    records = figures.astype(object).where(figures.notna(), None).to_dict("records")
    _write_json(folder / "metrics.json", records)
    pages = summaries.summarise(project, metrics)
    _write_gate(folder / "gate.json", pages)
    for name, shown in {
        **paper_tables(project, metrics),
        "models": [one for page in pages for one in (page.figures, page.gate)],
    }.items():
        parts = [latex.latex_table(one, f"tab:{name}-{number}") for number, one in enumerate(shown, 1) if one.rows]
        (folder / f"{name}.tex").write_text(latex.PREAMBLE + "\n".join(parts), encoding="utf-8")


def paper_tables(project: ReportSource, metrics: Nested) -> dict[str, list[Table]]:
    """The tables of the page by the name of their file, numbered as the paper's."""
    compared, test_sets = setups(project), project.all_datasets
    return {
        "table_ii": [
            data_tables.datasets_table(project),
            data_tables.paper_datasets_table(),
            data_tables.splits_table(metrics, test_sets),
        ],
        "table_iii": [tables.masks_table(metrics), tables.validity_table(metrics)],
        "table_iv": [tables.fidelity_table(metrics)],
        "table_v": [
            *(utility_tables.utility_table(metrics, convention, compared, test_sets) for convention in ("clinical", "paper")),
            utility_tables.paper_utility_table(compared),
        ],
        "table_vi": [privacy_tables.images_table(metrics), privacy_tables.masks_table(metrics)],
        "structures": [structures.structures_table(metrics, compared, test_sets)],
    }


def tidy(metrics: Nested) -> pd.DataFrame:
    """All figures of metrics.json, one a row.

    Returns:
        :data:`COLUMNS`. ``group`` is the first key (``fidelity``), ``model`` the second (``ddpm``, a training of the utility
        study, a dataset; ``masks`` for the shapes), ``metric`` the rest, joined by dots (``mnms.clinical.dice``). A figure that
        is missing has no value and a reason; lists (the duplicate scans) are left out.
    """
    rows = []
    for group, models in metrics.items():
        for model, tree in ({"masks": models} if group == "masks" else models).items():
            if isinstance(tree, dict):
                rows += [{"group": group, "model": model, "metric": name, **one} for name, one in _leaves(tree)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"value": float, "ci_low": float, "ci_high": float, "n": "Int64"})


def _leaves(tree: Nested, prefix: str = "") -> Iterator[tuple[str, Nested]]:
    for key, below in tree.items():
        if isinstance(below, dict) and "value" in below:
            yield f"{prefix}{key}", below
        elif isinstance(below, dict):
            yield from _leaves(below, f"{prefix}{key}.")
        elif isinstance(below, int | float):
            yield f"{prefix}{key}", {"value": below}


def _write_gate(path: Path, pages: list[summaries.Summary]) -> None:
    content = {
        page.key: {
            "passed": passes(page.verdicts),
            "meaning": page.meaning,
            "verdicts": [verdict.to_json() for verdict in page.verdicts],
        }
        for page in pages
    }
    _write_json(path, content)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
