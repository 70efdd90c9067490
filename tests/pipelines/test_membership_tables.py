"""Membership inference in the report: is the comparison valid, and in what is a control the network that it controls?"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.report import write_report
from pipelines.reporting import membership_tables
from pipelines.reporting.metrics import gather
from pipelines.reporting.project import Project
from tests.pipelines.report_project import build_project, figure

OWN = {
    "network": {"widths": [8, 16], "schedule": {"kind": "linear", "timesteps": 1000}},
    "train": {"epochs": 400, "max_steps": None, "batch": 8, "ema": 0.99},
    "augment": {"rotation": 10.0, "flip": False},
    "segmenter": "cd34",
}
CONTROL = {**OWN, "train": {**OWN["train"], "epochs": None, "max_steps": 60}, "augment": None}
ABOUT = {"dataset": "mnms", "vendor": "A", "members": {"train": 5}, "nonmembers": {"train": 2, "holdout": 3}}
KIND = {
    "dataset": "mnms",
    "vendor": "A",
    "members": 7,
    "nonmembers": 6,
    "drawn": 6,
    "member_slices": 24,
    "nonmember_slices": 23,
}


def interval(value: float, low: float) -> dict[str, Any]:
    return {"value": value, "ci_low": low, "ci_high": 1.0, "n": 48}


def attacks(auc: float) -> dict[str, Any]:
    return {
        name: {"auc": figure(auc), "patient": {"auc": figure(auc)}} for name in ("naive", "coarse", "frequency", "pia", "blind")
    }


def membership(blind: dict[str, Any], control: dict[str, Any]) -> dict[str, Any]:
    figures = {"mia_auc": figure(0.61), "mia_auc_blind": blind, "mia_auc_control": control, "blind_datasets": figure(0.97)}
    figures |= {"mia_tpr_at_1_fpr": {"value": None, "reason": "too few"}, "mia_tpr_at_10_fpr": figure(0.2)}
    return {**figures, "attacks": attacks(0.61), "test": {"attacks": attacks(0.7)}, "control": {"attacks": attacks(0.98)}}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = build_project(tmp_path)
    notes = {"match": [KIND], "test_match": [{**KIND, "drawn": 2}], "control": ABOUT}
    figures = membership(interval(0.52, 0.4), interval(0.98, 0.6))
    (root / "reports/figures/membership-ddpm.json").write_text(json.dumps({"run": "ddpm", "figures": figures, "notes": notes}))
    for name, params, steps in (("ddpm", OWN, 200), ("control/ddpm", CONTROL, 60)):
        folder = root / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        record = json.loads((root / "runs/ddpm/run.json").read_text())
        record |= {
            "name": name,
            "params": params,
            "steps": steps,
            "slices": {"data/cohort/train": 100},
            "slices_trained_on": 15,
        }
        (folder / "run.json").write_text(json.dumps(record | ({"kind": "control"} if "/" in name else {})))
        (folder / "history.csv").write_text((root / "runs/ddpm/history.csv").read_text())
    return Project(root)


@pytest.mark.parametrize(
    ("blind", "control", "told"),
    [
        (interval(0.52, 0.4), interval(0.98, 0.6), "valid: the pictures alone do not tell"),
        (interval(0.72, 0.55), interval(0.98, 0.6), "void: the pictures alone tell members from others"),
        (interval(0.52, 0.4), interval(0.8, 0.6), r"void: the attack does not find its positive control \(AUC 0.800\)"),
        (interval(0.52, 0.4), {"value": None, "reason": "no patients"}, "void: there is no positive control"),
        ({"value": 0.5, "n": 4, "reason": "one patient"}, interval(0.98, 0.6), "void: the blind attack has no interval"),
    ],
)
def test_a_comparison_is_valid_or_void(blind, control, told):
    (sentence,) = membership_tables.verdicts({"privacy": {"ddpm": membership(blind, control), "masks": {}}})
    assert sentence.startswith("DDPM: the comparison is ")
    assert re.search(told, sentence)


def test_every_attack_stands_beside_its_controls(project):
    table = membership_tables.attacks_table(gather(project))
    assert [column.name for column in table.columns] == ["Attack", "Slices", "Patients"]
    labels = [row[0].text for row in table.rows]
    assert labels[::6] == ["Training against hold-out patients", "… against official test patients", "Positive control"]
    assert [cell.text for cell in table.rows[1][1:]] == ["0.610", "0.610"]
    assert [cell.text for cell in table.rows[13][1:]] == ["0.980", "0.980"]


def test_a_control_is_compared_field_by_field(project):
    (row,) = membership_tables.controls_table(project).rows
    assert [cell.text for cell in row] == [
        *("DDPM", "the same (3)", "none", "the same (2)", "on → off", "200 → 60", "16 → 32"),
        *("5 train patients (15 slices), M&Ms · A", "2 train, 3 holdout patients"),
    ]
    path = project.root / "runs/control/ddpm/run.json"
    record = json.loads(path.read_text())
    record["params"]["train"]["ema"] = 0.9
    path.write_text(json.dumps(record))
    (row,) = membership_tables.controls_table(Project(project.root)).rows
    assert row[3].text == "the same; ema: 0.99 → 0.9"


def test_the_match_is_shown(project):
    rows = membership_tables.match_table(project).rows
    assert [row[0].text for row in rows] == ["Hold-out patients", "M&Ms · A", "Official test patients", "M&Ms · A"]
    assert [cell.text for cell in rows[1][1:]] == ["7", "6", "6", "24", "23"]


def test_the_page_has_it_all(project):
    html = write_report(project.root).read_text()
    assert "DDPM: the comparison is valid" in html
    assert "Control · DDPM" in html
    metrics = json.loads((project.root / "reports/metrics.json").read_text())["privacy"]
    assert metrics["ddpm"]["mia_auc_control"]["value"] == 0.98
    assert metrics["ddpm"]["nn_l2"]["value"] is not None
    assert metrics["masks"]["mia_auc"]["reason"] == "no figures: the stage membership_masks has not run"
