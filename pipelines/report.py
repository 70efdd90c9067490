"""The stage `report`: gathers all figures into reports/metrics.json and writes reports/report.html, plots/ and tables/."""

from pathlib import Path
from typing import Any

import pandas as pd

from cmr.files import whole_file, whole_folder
from pipelines.reporting.exports import write_tables
from pipelines.reporting.grids import on_test_masks
from pipelines.reporting.metrics import gather
from pipelines.reporting.page import render
from pipelines.reporting.pictures import grid_picture
from pipelines.reporting.project import Network, Project
from pipelines.stage import ROOT, run, say, write_json


def write_report(root: Path) -> Path:
    """Write metrics, page, plots and tables of the project at ``root``; nothing half-written is left behind.

    Returns:
        The path of the page.

    Raises:
        DataError: an input is broken, or the disk is full.
    """
    project = Project(root)
    metrics = gather(project)
    page = render(project, metrics)
    reports = root / "reports"
    with whole_folder(reports / "plots") as plots:
        _loss_table(project.networks).to_csv(plots / "loss.csv", index=False)
        _utility_table(metrics["utility"]).to_csv(plots / "utility.csv", index=False)
        if rows := on_test_masks(project).rows:
            grid_picture(rows).save(plots / "grid.png")
    with whole_folder(reports / "tables") as tables:
        write_tables(tables, project, metrics)
    write_json(reports / "metrics.json", metrics)
    with whole_file(reports / "report.html") as file:
        file.write_text(page, encoding="utf-8")
    return reports / "report.html"


def _loss_table(networks: list[Network]) -> pd.DataFrame:
    """Training curves in one long table for `dvc plots`."""
    columns = ["network", "step", "train_loss", "validation"]
    parts = [network.history.assign(network=network.name)[columns] for network in networks]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _utility_table(utility: dict[str, Any]) -> pd.DataFrame:
    """Clinical Dice of every setup on every test set, those without a figure left out."""
    rows = [
        {"setup": setup, "test": test, "dice": figures["clinical"]["dice"]["value"]}
        for setup, tests in utility.items()
        for test, figures in tests.items()
        if figures["clinical"]["dice"]["value"] is not None
    ]
    return pd.DataFrame(rows, columns=["setup", "test", "dice"])


def main() -> None:
    page = write_report(ROOT)
    say(f"report: open {page.resolve()}")


if __name__ == "__main__":
    run(main)
