"""Fidelity on the page once the metric networks have spoken: rows, floors, FID against N, neighbours by LPIPS."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.report import write_report
from pipelines.reporting import privacy_tables, tables
from pipelines.reporting.fidelity_charts import against_n_chart
from pipelines.reporting.metrics import gather
from pipelines.reporting.project import Project
from tests.pipelines.report_project import build_project, figure

CROWDS = {"fid": 120.0, "kid": 0.1, "precision": 0.4, "recall": 0.3, "frechet_segmenter": 0.2}


def scaled(factor: float, n: int = 24) -> dict[str, Any]:
    return {name: figure(factor * value, n) for name, value in CROWDS.items()}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = build_project(tmp_path_factory.mktemp("project"), generators=("ddpm", "fm"))
    curve = {"n": [8, 16, 24], "frechet": [200.0, 150.0, 120.0], "at_infinity": 80.0}
    change(root / "reports/figures/fidelity-ddpm.json", add_crowds, {"fid_against_n": {"made": curve, "train": curve}})
    change(root / "reports/figures/privacy-ddpm.json", add_neighbours)
    return Project(root)


def change(path: Path, how: Any, notes: dict[str, Any] | None = None) -> None:
    content = json.loads(path.read_text())
    how(content["figures"])
    content["notes"] |= notes or {}
    path.write_text(json.dumps(content))


def add_crowds(figures: dict[str, Any]) -> None:
    figures |= {**scaled(1.0), "lpips": figure(0.45), "full": scaled(1.5), "floor_datasets": {"acdc": scaled(0.75, n=18)}}
    figures["floor"] |= {**scaled(0.5), "lpips": figure(0.35)}


def add_neighbours(figures: dict[str, Any]) -> None:
    figures |= {"nn_lpips": figure(0.31), "nn_lpips_holdout": figure(0.33), "nn_lpips_paper": figure(0.36)}
    figures["lpips"] = {"copies": figure(0.03), "c_t": figure(1.0), "floor": {"copies": figure(0.01)}}
    figures["floor"] |= {"nn_lpips": figure(0.29)}


def row(table: tables.Table, label: str) -> list[str]:
    return next([cell.text for cell in cells[1:]] for cells in table.rows if cells[0].text == label)


def test_rows_of_crowds_stand_beside_both_floors_and_the_paper(project: Project) -> None:
    table = tables.fidelity_table(gather(project))
    names = [column.name for column in table.columns]
    assert names == ["Metric", "DDPM", "Flow matching", "Floor", "ACDC test", "N", "DDPM", "Flow matching"]
    assert sum(span for _, span in table.groups) == len(names)
    assert row(table, "FID ↓") == ["120.0", "–", "60.0", "90.0", "24", "72.52", "108.32"]
    assert row(table, "LPIPS (VGG) ↓") == ["0.450", "–", "0.350", "–", "24", "0.49", "0.48"]
    assert row(table, "Fréchet distance, segmenter ↓")[:4] == ["0.200", "–", "0.100", "0.150"]
    labels = [cells[0].text for cells in table.rows]
    assert labels[labels.index("FID ↓") + 1] == "… of Full-Syn ↓"
    assert row(table, "… of Full-Syn ↓")[0] == "180.0"


def test_names_of_full_syn_are_there_with_a_figure_or_a_reason(project: Project) -> None:
    fidelity = gather(project)["fidelity"]
    assert fidelity["ddpm"]["full"]["kid"]["value"] == pytest.approx(0.15)
    assert fidelity["fm"]["full"]["kid"] == {"value": None, "reason": "the stage fidelity@fm did not give it"}


def test_fid_against_n_is_drawn_where_there_are_curves(project: Project, tmp_path: Path) -> None:
    assert against_n_chart(project).startswith("data:image/svg+xml;base64,")
    html = write_report(project.root).read_text()
    assert "FID against the number of images" in html
    assert against_n_chart(Project(build_project(tmp_path))) == ""


def test_neighbours_by_lpips_have_rows_with_names(project: Project) -> None:
    table = privacy_tables.images_table(gather(project))
    assert row(table, "Nearest neighbour, LPIPS")[:3] == ["0.310", "–", "0.290"]
    assert row(table, "Copies, by LPIPS ↓")[:3] == ["3.0", "–", "1.0"]
    assert row(table, "LPIPS to the L2-nearest, the paper's way")[0] == "0.360"
    assert not any("_" in cells[0].text for cells in table.rows)
