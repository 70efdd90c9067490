"""The stage `report`: all figures in reports/metrics.json, the in-house report, its tables and plots, and reports/release/."""

from pathlib import Path
from typing import Any

import pandas as pd

from cmr.files import whole_file, whole_folder
from pipelines.reporting.exports import tidy, write_tables
from pipelines.reporting.grids import on_test_masks
from pipelines.reporting.metrics import gather
from pipelines.reporting.page import render_in_house, render_release
from pipelines.reporting.pictures import grid_picture
from pipelines.reporting.project import Project
from pipelines.reporting.release import release_of
from pipelines.reporting.source import Network
from pipelines.stage import ROOT, run, say, write_json


def write_report(root: Path) -> Path:
    """Write metrics, both reports, plots and tables of the project at ``root``; nothing half-written is left behind.

    Returns:
        The path of the in-house page.

    Raises:
        DataError: an input is broken, or the disk is full.
    """
    project = Project(root)
    metrics = gather(project)
    page = render_in_house(project, metrics)
    release = release_of(project)
    released = gather(release)
    release_page = render_release(release, released)
    reports = root / "reports"
    with whole_folder(reports / "plots") as plots:
        _loss_table(project.networks).to_csv(plots / "loss.csv", index=False)
        _utility_table(metrics["utility"]).to_csv(plots / "utility.csv", index=False)
        if rows := on_test_masks(project).rows:
            grid_picture(rows).save(plots / "grid.png")
    with whole_folder(reports / "tables") as tables:
        write_tables(tables, project, metrics)
    with whole_folder(reports / "release") as folder:
        (folder / "report.html").write_text(release_page, encoding="utf-8")
        write_json(folder / "metrics.json", released)
        (folder / "tables").mkdir()
        write_tables(folder / "tables", release, released)
    write_json(reports / "metrics.json", metrics | {"data": metrics["data"] | {"duplicates": project.duplicates}})
    with whole_file(reports / "report.html") as file:
        file.write_text(page, encoding="utf-8")
    if kept := held_back(metrics, released):
        say(f"report: {len(kept)} figures stay in-house, as mlops/release.py does not list their names: {', '.join(kept[:8])}")
    return reports / "report.html"


def held_back(metrics: dict[str, Any], released: dict[str, Any]) -> list[str]:
    """The figures of the in-house report that the report for release lacks, each as ``group.model.metric``."""
    tables = (tidy(one)[["group", "model", "metric"]].agg(".".join, axis=1) for one in (metrics, released))
    before, after = (list(names) for names in tables)
    return [name for name in before if name not in set(after)]


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
    say(f"report: in-house {page.resolve()}, for release {page.resolve().parent / 'release/report.html'}")


if __name__ == "__main__":
    run(main)
