"""What can be taken away: it reads back, and holds what the page holds."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.reporting.exports import COLUMNS, paper_tables, tidy, write_tables
from pipelines.reporting.metrics import gather
from pipelines.reporting.project import Project
from tests.pipelines.report_project import GENERATORS
from tests.pipelines.reporting.test_latex import balanced, compile_tables, rows_of

TEX = ("table_ii", "table_iii", "table_iv", "table_v", "table_vi", "structures", "models")


@pytest.fixture(scope="module")
def written(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write_tables(folder, finished, gather(finished))
    return folder


def test_the_files(written: Path) -> None:
    assert {path.name for path in written.iterdir()} == {
        "metrics.csv",
        "metrics.json",
        "gate.json",
        *(f"{name}.tex" for name in TEX),
    }


def test_csv_and_json_read_back_to_the_same_figures(written: Path, metrics: dict[str, Any]) -> None:
    table = pd.read_csv(written / "metrics.csv")
    assert tuple(table.columns) == COLUMNS
    assert not table.duplicated(["group", "model", "metric"]).any()
    rows = {(row["group"], row["model"], row["metric"]): row for row in table.to_dict("records")}
    dice = rows["utility", "mnms-real", "acdc.clinical.dice"]
    assert {key: dice[key] for key in ("value", "ci_low", "ci_high", "n")} == metrics["utility"]["mnms-real"]["acdc"][
        "clinical"
    ]["dice"]
    assert rows["privacy", "ddpm", "floor.nn_l2"]["value"] == 6.9
    assert rows["masks", "masks", "valid_share"]["value"] == 0.71
    assert rows["data", "acdc", "train.patients"]["value"] == 6
    assert rows["cost", "ldm", "seconds_per_image"]["value"] == 0.25
    absent = rows["fidelity", "fm", "fid"]
    assert pd.isna(absent["value"])
    assert absent["reason"] == metrics["fidelity"]["fm"]["fid"]["reason"]
    records = json.loads((written / "metrics.json").read_text())
    assert len(records) == len(table)
    assert [record["value"] for record in records] == [None if pd.isna(value) else value for value in table["value"]]


def test_every_figure_has_a_value_or_a_reason(metrics: dict[str, Any]) -> None:
    table = tidy(metrics)
    assert (table["value"].notna() | table["reason"].notna()).all()


def test_verdicts_are_written(written: Path) -> None:
    gate = json.loads((written / "gate.json").read_text())
    assert set(gate) == {*GENERATORS, "masks"}
    assert not gate["ddpm"]["passed"]
    copies = next(one for one in gate["masks"]["verdicts"] if one["name"] == "copies")
    assert (copies["outcome"], copies["limit"]["at_most"], copies["compared"]) == ("fail", 0.01, pytest.approx(0.021))


@pytest.mark.parametrize("name", TEX)
def test_latex_is_whole(written: Path, name: str) -> None:
    source = (written / f"{name}.tex").read_text()
    assert balanced(source)
    for table in source.split(r"\begin{table*}")[1:]:
        assert len(set(rows_of(table))) == 1
    assert not set(source) & set("↑↓−–×·πσ≤≥“”…⁻²")


def test_tables_stand_in_the_order_of_the_paper(finished: Project, metrics: dict[str, Any]) -> None:
    captions = {name: [table.caption for table in tables] for name, tables in paper_tables(finished, metrics).items()}
    assert all(tables for tables in captions.values())
    assert "Table II" in captions["table_ii"][1]
    assert "Table V" in captions["table_v"][2]


def test_without_figures(empty: Project, tmp_path: Path) -> None:
    write_tables(tmp_path, empty, gather(empty))
    assert all(balanced((tmp_path / f"{name}.tex").read_text()) for name in TEX)
    assert not pd.read_csv(tmp_path / "metrics.csv").query("group == 'fidelity'")["value"].notna().any()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
def test_latex_compiles(written: Path, tmp_path: Path) -> None:
    compile_tables([(written / f"{name}.tex").read_text() for name in TEX], tmp_path)
