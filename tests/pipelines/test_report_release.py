"""The report for release shows no scan, no mask of a patient, no patient and no place; the in-house one does."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from cmr.store import SliceStore
from mlops.connection import connect
from mlops.pipeline_run import pipeline_run
from mlops.release import FIGURES, error_for_release, hashes_for_release, label_without, params_for_release
from mlops.settings import load_params
from mlops.sync import sync
from pipelines.report import held_back, write_report
from pipelines.reporting import names
from pipelines.reporting.metrics import gather
from pipelines.reporting.project import Project
from pipelines.reporting.release import release_of
from tests.leaks import identifiers_in, real_pictures_in, real_subjects
from tests.pipelines.project import REPOSITORY
from tests.pipelines.report_project import GENERATORS, build_project

PATIENT, SECRET = "mnms-train-02", "/scans/hospital of st mary"


def _change(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with patients and places wherever a stage, a reader or a person could have written them."""
    root = build_project(tmp_path_factory.mktemp("project"), generators=GENERATORS)
    (root / ".dvc").mkdir()
    figures = root / "reports/figures"
    reason = {"value": None, "reason": f"{SECRET}/{PATIENT}.nii.gz: not readable"}
    cut = {"value": 0.5, "ci_low": None, "ci_high": None, "n": 3, "reason": f"no interval: only {PATIENT}"}
    by_patient = {PATIENT: {"value": 0.9, "n": 1}, "patient-001": {"value": 0.1, "n": 1}, "10": {"value": 1.0, "n": 1}}

    def fidelity(content: dict[str, Any]) -> None:
        content["run"] = "ddpm"
        content["figures"] |= {"fid": reason, "lpips": cut, "by_patient": by_patient, PATIENT: {"value": 1.0, "n": 1}}
        content["notes"] = {"worst": PATIENT, "fid_against_n": {"full": {"n": [8, 16], "frechet": [9.0, 8.0]}, PATIENT: {}}}

    def membership(content: dict[str, Any]) -> None:
        sides = {"members": {"train": 2, PATIENT: 1}, "nonmembers": {"holdout": 2}}
        content["notes"] = {"control": {"dataset": "mnms", "vendor": f"{SECRET}", **sides}, "match": []}

    def ingest(content: dict[str, Any]) -> None:
        content["skipped"] = [{"subject": "patient077", "reason": f"{SECRET}/patient077: no labels"}]
        content["excluded"], content["warnings"] = [["patient088"]], ["patient099 ED: unusual voxel size"]
        content["centres"] |= {f"{SECRET}": 1}
        content["unused"] = {f"{SECRET}/Unlabeled": 4}
        content["pathologies"] |= {"HCM, patient A0S9V9": 1, "as MNMS train-02": 7}
        content["vendors"] |= {"Vendor of patient077": 9, "Rare": 4, "Common": 5}

    def run(content: dict[str, Any]) -> None:
        content["params"] = {"network": {"widths": [8]}, "control": {"members": [PATIENT], "slices": 1}, "weights": SECRET}
        content["data"] |= {f"{SECRET}/train": "ab" * 32, "data/slices/patient001": "ab" * 32}
        content |= {"run_key": "ef56" * 16, "host": "scanner7", "device": f"CPU of {SECRET}"}

    for path, change in {
        figures / "fidelity-ddpm.json": fidelity,
        figures / "ingest-acdc.json": ingest,
        root / "runs/ddpm/run.json": run,
    }.items():
        _change(path, change)
    (figures / "membership-ddpm.json").write_text(json.dumps({"run": "ddpm", "figures": {}, "notes": {}}))
    _change(figures / "membership-ddpm.json", membership)
    history = root / "runs/ddpm/history.csv"
    pd.read_csv(history).assign(who=PATIENT).to_csv(history, index=False)
    params = load_params(root)
    params["data"] |= {"excluded": ["mnms/mnms-train-04"], "note": PATIENT, "licences": {"acdc": "CC0", "mnms": SECRET}}
    params["data"]["raw"]["mnms"]["root"] = SECRET
    params["privacy"]["holdout"] |= {"patients": [PATIENT], "list": f"{SECRET}/list.csv"}
    params["ddpm"]["train"]["weights"] = f"{SECRET}/w.safetensors"
    params["gate"]["meaning"] = f"As agreed in {SECRET}/minutes.docx"
    params["mine"] = {"who": PATIENT}
    with (root / "params.yaml").open("w") as file:
        YAML().dump(params, file)
    write_report(root)
    return root


def test_the_release_shows_no_real_slice_or_mask(root: Path) -> None:
    assert real_pictures_in(root / "reports/release", root) == []


def test_the_in_house_report_shows_them(root: Path) -> None:
    found = real_pictures_in(root / "reports/report.html", root)
    assert {"correlation", "Dice"} <= {word for one in found for word in one.split()}
    assert len(found) > 50
    assert "must not leave the house" in (root / "reports/report.html").read_text()


def test_the_release_names_no_patient_and_no_place(root: Path) -> None:
    assert identifiers_in(root / "reports/release", root) == []
    everything = "".join(path.read_text() for path in (root / "reports/release").rglob("*.*"))
    for word in (
        "st mary",
        "scanner7",
        "patient077",
        "patient088",
        "patient099",
        "patient-001",
        PATIENT,
        "patient001",
        "A0S9V9",
        "train-02",
        "Rare",
    ):
        assert word not in everything
    in_house = identifiers_in(root / "reports/report.html", root)
    for word in ("st mary", "patient077", PATIENT):
        assert any(word in one for one in in_house), word


def test_names_in_the_information_table_stand_where_five_patients_share_them(root: Path) -> None:
    found = release_of(Project(root)).ingested("acdc")
    assert found is not None
    assert found["pathologies"] == {"DCM": 5, "NOR": 10, "other": 8}
    assert found["vendors"] == {"A": 8, "B": 7, "other": 13, "Common": 5}
    assert found["centres"] == {"1": 15, "other": 1}
    assert found["subjects"] == {"training": 9, "validation": 2, "testing": 4}


def test_a_text_with_the_id_of_a_patient_is_other() -> None:
    patients = {"A0S9V9", "patient001", "7", "100"}
    for text in ("HCM, patient A0S9V9", "hcm a0s-9v9", "xA0S9V9x", "Patient_001", "scan 100", "/a/path"):
        assert label_without(text, patients) == "other", text
    for text in ("HCM", "Siemens", "centre 7", "NVIDIA H100 80GB", ""):
        assert label_without(text, patients) == text


def test_of_the_data_of_a_network_stores_of_the_pipeline_are_named() -> None:
    names = {"acdc", "my-scans", "ddpm"}
    stores = [f"data/cohort/{split}" for split in ("train", "val", "test", "holdout")]
    stores += ["data/slices/acdc", "data/masks/full", "data/masks/my-scans", "data/sets/ddpm-full"]
    stores += ["data/sets/my-scans-real-and-ddpm-my-scans", "data/sets/acdc-real-as-ddpm-acdc"]
    others = ["data/slices/patient001", "data/sets/ddpm-full-patient001", "data/cohort/train/patient001", "data/train"]
    others += ["data/patient001/train", "/data/cohort/train", "data/cohort/../train", "data/sets/ddpm-", "data/sets/ddpmfull"]
    digest = "ab" * 32
    assert hashes_for_release(dict.fromkeys([*stores, *others], digest), names) == dict.fromkeys(stores, digest)


def test_the_release_is_the_same_report_for_the_rest(root: Path) -> None:
    page = (root / "reports/release/report.html").read_text()
    for section in ("summary", "models", "data", "masks", "fidelity", "utility", "privacy", "training", "provenance"):
        assert f'<section id="{section}">' in page
    assert page.index("Flow matching, on") > page.index('class="opening"') > 0
    metrics, released = (json.loads((root / "reports" / name).read_text()) for name in ("metrics.json", "release/metrics.json"))
    assert released["fidelity"]["ldm"] == metrics["fidelity"]["ldm"]
    assert released["utility"] == metrics["utility"]
    assert released["fidelity"]["ddpm"]["lpips"]["value"] == 0.5
    assert metrics["data"]["duplicates"] == [["patient001", "patient101"]]
    assert "duplicates" not in released["data"]
    names_of = {path.name for path in (root / "reports/tables").iterdir()}
    assert {path.name for path in (root / "reports/release/tables").iterdir()} == names_of


def test_what_stays_in_house_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(root)
    held = held_back(gather(project), gather(release_of(project)))
    assert f"fidelity.ddpm.{PATIENT}" in held
    assert {one.split(".")[2] for one in held} == {PATIENT, "by_patient"}
    write_report(root)
    assert "4 figures stay in-house" in capsys.readouterr().out


def test_nothing_in_a_release_leads_back_to_the_project(root: Path) -> None:
    """So a section that somebody adds can't show a scan: whatever it asks for, this is all that there is."""
    release = release_of(Project(root))
    arrays, real = [], real_subjects(root)
    for part in _parts(release):
        assert not isinstance(part, Path | Project)
        assert not (isinstance(part, str) and (part in real or part.startswith("/")))
        if isinstance(part, np.ndarray) and part.ndim == 3:
            arrays.append(np.asarray(part))
    assert len(arrays) >= 1 + len(GENERATORS)
    assert not {"store", "root", "denoising", "raw_root", "ingest_report"} & set(dir(release))


def _parts(thing: Any) -> Iterator[Any]:
    yield thing
    if isinstance(thing, Mapping):
        for key, below in thing.items():
            yield from _parts(key)
            yield from _parts(below)
    elif isinstance(thing, list | tuple | set):
        for below in thing:
            yield from _parts(below)
    elif isinstance(thing, pd.DataFrame):
        yield from _parts(thing.to_dict("list"))
    elif dataclasses.is_dataclass(thing) or isinstance(thing, SliceStore):
        yield from _parts(vars(thing))


def test_a_slice_learnt_by_heart_is_not_shown(tmp_path: Path) -> None:
    root = build_project(tmp_path)
    real, drawn = SliceStore.open(root / "data/cohort/train"), SliceStore.open(root / "data/sets/ddpm-full")
    images, masks = np.array(drawn.images), np.array(drawn.masks)
    images[:8], masks[8:12] = np.asarray(real.images[:8]), np.asarray(real.masks[:4])
    SliceStore.write(root / "data/sets/ddpm-full", drawn.index, masks, images)
    SliceStore.write(root / "data/masks/full", drawn.index, masks)
    write_report(root)
    assert real_pictures_in(root / "reports/release", root) == []


def test_a_generator_of_copies_alone_still_has_a_report(tmp_path: Path) -> None:
    root = build_project(tmp_path)
    real, drawn = SliceStore.open(root / "data/cohort/train"), SliceStore.open(root / "data/sets/ddpm-full")
    SliceStore.write(root / "data/sets/ddpm-full", drawn.index, np.asarray(drawn.masks), np.asarray(real.images[: len(drawn)]))
    write_report(root)
    assert real_pictures_in(root / "reports/release", root) == []
    assert "No generated masks yet" in (root / "reports/release/report.html").read_text()


def test_mlflow_gets_what_may_leave_the_house(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("drawn.png", "drawn/step-000010.png"):
        path = root / "runs/ddpm" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((root / "runs/autoencoder/ldm/reconstructions.png").read_bytes())
    history = root / "runs/ddpm/history.csv"
    pd.read_csv(history).drop(columns="who").to_csv(history, index=False)
    with pipeline_run(root, ["report", f"{SECRET}/dvc.yaml"]):
        (root / "dvc.lock").write_text("stages: {}\n")
        sync(root)
    tracking = connect(root)
    runs = tracking.client.search_runs([tracking.experiment])
    told = json.dumps([[run.info.run_name, run.data.params, run.data.tags] for run in runs])
    inputs = json.dumps([str(one) for run in runs for one in run.inputs.dataset_inputs])
    for text in (told, inputs):
        assert identifiers_in(text, root) == []
        assert "st mary" not in text
    assert identifiers_in(root / "mlartifacts", root) == []
    assert real_pictures_in(root / "mlartifacts", root) == []
    files = {path.name for path in (root / "mlartifacts").rglob("*.*")}
    assert {"params.yaml", "metrics.json", "report.html", "drawn.png", "step-000010.png", "figures.json"} <= files
    assert "reconstructions.png" not in files
    (pipeline,) = [run for run in runs if run.data.tags.get("kind") == "pipeline"]
    assert pipeline.data.tags["command"] == "dvc repro report …"
    (ddpm,) = [run for run in runs if run.info.run_name == "ddpm"]
    assert ddpm.data.params["control.slices"] == "1"
    assert ddpm.data.tags["missing/fidelity/fid"] == "the reason is in the in-house report only"


@pytest.mark.parametrize("path", ["params.yaml", *(f"profiles/{name}.yaml" for name in ("demo", "real", "paper"))])
def test_every_setting_of_the_project_is_released_but_places_and_patients(path: str) -> None:
    """A new setting with a text, or a new section, has to be listed in mlops/release.py, or here."""
    params = {"data": {"raw": {}}, **YAML(typ="safe").load((REPOSITORY / path).read_text())}
    params["generators"] = {"names": list(GENERATORS), **params.get("generators", {})}
    kept, given = dict(_leaves(params_for_release(params))), dict(_leaves(params))
    assert {key for key in given if key not in kept} <= {"data.raw.acdc.root", "data.raw.mnms.root", "data.excluded"}
    assert all(kept[key] == given[key] for key in kept)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, below in tree.items():
        if isinstance(below, Mapping):
            yield from _leaves(below, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", below


def test_of_an_error_mlflow_gets_the_kind() -> None:
    told = [error_for_release(error) for error in (f"DataError: {SECRET}/{PATIENT}: cut short", f"no {PATIENT}", "")]
    assert told == ["DataError", "the reason is in the in-house report only", ""]


def test_every_figure_that_the_report_presents_is_released() -> None:
    presented = {*names.FIDELITY, *names.FIDELITY_EXTRA, *names.CLINICAL, *names.AGAINST_REAL, *names.MASK_FEATURES}
    prefixed = {name.partition("_")[2] for name in names.PRIVACY_EXTRA if name.startswith(("lpips_", "augmented_"))}
    own = {name for name in names.PRIVACY_EXTRA if not name.startswith(("lpips_", "augmented_"))}
    assert presented | set(names.MASK_CHECKS) | set(names.PRIVACY) | prefixed | own <= FIGURES
