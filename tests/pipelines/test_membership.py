"""The stages `control` and `membership` on a tiny project: what they draw, train, attack and write."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from cmr.store import SliceStore
from mlops.profiles import merged
from models.checkpoint import save_network
from pipelines import membership, train_control, training
from tests.evaluation.privacy.membership.networks import tiny
from tests.pipelines.project import REPOSITORY, TINY
from tests.pipelines.report_project import build_project

HEADLINES = ("mia_auc", "mia_auc_blind", "mia_auc_control", "mia_tpr_at_10_fpr", "blind_datasets")


class Quiet:
    """No tracking."""

    def __init__(self, *_: Any):
        self.log = self.picture = self.close = lambda *_: None


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slices of drawn hearts, an untrained network of each kind, and the demo's settings made small."""
    build_project(tmp_path, generators=("ddpm",), figures=False, size=16)
    params = merged(REPOSITORY, "demo")
    for key, value in TINY.items():
        *parents, last = key.split(".")
        block = params
        for parent in parents:
            block = block[parent]
        block[last] = YAML(typ="safe").load(value)
    params["privacy"]["membership"]["slices"] = 4  # of 3 hold-out patients: a rate of 10 % needs 10 slices
    params["slices"]["size"] = 16  # as the stores have
    _write(tmp_path, params)
    for name in ("ddpm", "masks"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        network: Any = tiny("distances" if name == "masks" else name)  # the demo's kind of mask model
        save_network(folder, network.config, network.state_dict())
        (folder / "run.json").write_text(json.dumps({"run_key": "ab12"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "LiveRun", Quiet)
    monkeypatch.setattr(training, "record_network", lambda *_: None)
    monkeypatch.setattr(membership, "record_figures", lambda *_: None)
    return tmp_path


def _write(root: Path, params: Any, **changes: Any) -> None:
    for key, value in changes.items():
        params["privacy"]["control"][key] = value
    with (root / "params.yaml").open("w") as file:
        YAML().dump(params, file)


def _figures(root: Path, name: str) -> dict[str, Any]:
    return json.loads((root / f"reports/figures/membership-{name}.json").read_text())


@pytest.mark.parametrize("name", ["ddpm", "masks"])
def test_both_stages_leave_what_the_report_reads(project, name):
    train_control.main(name)
    folder = project / "runs/control" / name
    record = json.loads((folder / "run.json").read_text())
    assert (record["name"], record["kind"], record["params"]["augment"]) == (f"control/{name}", "control", None)
    assert record["steps"] == 20
    slices = pd.read_csv(folder / "slices.csv", dtype=str)
    members, others = (slices[slices["side"] == side] for side in ("members", "nonmembers"))
    assert record["slices_trained_on"] == len(members)
    assert set(members["split"]) == {"train"}
    assert not set(members["subject"]) & set(others["subject"])
    assert members["subject"].nunique() == others["subject"].nunique() == 2
    assert sorted(members["subject"].unique()) == record["params"]["control"]["members"]

    membership.main(name)
    content = _figures(project, name)
    assert (content["run"], content["run_key"]) == (name, "ab12")
    figures, notes = content["figures"], content["notes"]
    assert all(figures[key]["value"] is not None for key in HEADLINES)
    assert "needs 100 non-members" in figures["mia_tpr_at_1_fpr"]["reason"]
    assert figures["control"]["mia_auc"] == figures["mia_auc_control"]
    assert {"naive", "coarse", "frequency", "pia", "blind"} == figures["attacks"].keys() == figures["test"]["attacks"].keys()
    assert figures["test"]["mia_auc_blind"]["value"] is not None
    assert [(kind["vendor"], kind["drawn"]) for kind in notes["match"]] == [("A", 2), ("B", 1)]
    assert sum(kind["drawn"] for kind in notes["test_match"]) == 4
    assert notes["control"]["members"] == {"train": 2}


def test_where_no_control_can_be_drawn_its_figure_says_so(project):
    for split in ("train", "holdout"):
        store = SliceStore.open(project / "data/cohort" / split)
        index = store.index.assign(vendor=store.index["subject"])  # nobody shares a vendor
        if split == "holdout":
            index["vendor"] = index["vendor"].str.replace("holdout", "train")
        content = (index, np.asarray(store.masks), np.asarray(store.images))
        SliceStore.write(project / "data/cohort" / split, *content)
    train_control.main("masks")
    assert not (project / "runs/control/masks/run.json").exists()
    membership.main("masks")
    figures = _figures(project, "masks")["figures"]
    assert "2 training patients of one vendor" in figures["mia_auc_control"]["reason"]
    assert "no dataset and vendor in common" in figures["test"]["mia_auc"]["reason"]
    assert figures["mia_auc"]["value"] is not None


@pytest.mark.slow
def test_a_control_that_has_learnt_its_slices_by_heart_is_found(project):
    params = YAML(typ="safe").load(project / "params.yaml")
    params["ddpm"]["train"] |= {"learning_rate": 2e-3, "checkpoint_seconds": 60.0}
    params["ddpm"]["network"] |= {"widths": [16, 32], "attention": [False, False]}
    _write(project, params, max_steps=300)
    train_control.main("ddpm")
    membership.main("ddpm")
    figures = _figures(project, "ddpm")["figures"]
    assert figures["control"]["attacks"]["naive"]["auc"]["value"] > 0.9
    assert figures["control"]["attacks"]["naive"]["patient"]["auc"]["value"] == 1
