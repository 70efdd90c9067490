"""Where a patient's scans went, and how a patient is left out."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cmr.errors import DataError
from mlops import registry
from mlops.approvals.store import read_chain
from mlops.connection import TrackingError, connect
from mlops.exports import note_export
from mlops.lineage import WITHDRAWN, exclude, lineage
from mlops.promotion import promote
from mlops.settings import DataSettings, section
from tests.mlops.registered import MODEL, draw_training_images, retrain

TRAIN, VAL, HOLDOUT, TEST = (f"mnms-{split}-00" for split in ("train", "val", "holdout", "test"))
ELSEWHERE = "acdc-train-00"  # no generator learns from it


@pytest.fixture
def root(registered: Path) -> Path:
    for dataset in ("acdc", "mnms"):
        subjects = pd.read_parquet(registered / "data/slices" / dataset / "index.parquet")["subject"].unique()
        manifest = pd.DataFrame({"subject": [*subjects, "copy-of-00"], "duplicate_of": ""})
        manifest.loc[manifest["subject"] == "copy-of-00", "duplicate_of"] = f"{dataset}-train-00"
        if dataset == "acdc":
            manifest = manifest[manifest["subject"] != "copy-of-00"]
        (registered / "data/manifests").mkdir(exist_ok=True)
        manifest.to_parquet(registered / "data/manifests" / f"{dataset}.parquet", index=False)
    draw_training_images(registered)  # for masks of the patients' own, by the registered model
    return registered


def numbers(root: Path, patient: str) -> list[int]:
    return [version.number for version in lineage(root, patient).versions]


def tags(root: Path, number: int) -> dict[str, str]:
    return dict(registry.version(connect(root), MODEL, number).tags)


@pytest.mark.parametrize("name", [TRAIN, f"mnms/{TRAIN}", "copy-of-00"])
def test_a_training_patient_is_in_every_version_and_set(root: Path, name: str) -> None:
    retrain(root)
    found = lineage(root, name)
    assert [(version.model, version.number) for version in found.versions] == [(MODEL, 1), (MODEL, 2)]
    assert set(found.names) == {f"mnms/{TRAIN}", "mnms/copy-of-00"}
    assert f"data/sets/{MODEL}-full" in dict(found.sets)
    assert any(use.startswith(f"mnms/{TRAIN}: train; trains the mask model") for use in found.uses)
    assert "- syncmri-ddpm version 2 (candidate)" in list(found.lines())


def test_a_validation_patient_chose_the_checkpoint(root: Path) -> None:
    assert numbers(root, VAL) == [1]


@pytest.mark.parametrize("name", [HOLDOUT, TEST, ELSEWHERE])
def test_others_are_in_no_version(root: Path, name: str) -> None:
    found = lineage(root, name)
    assert (found.versions, found.exports) == ((), ())
    (use,) = found.uses
    told = {HOLDOUT: "held out of all training", TEST: "in no training", ELSEWHERE: "trains segmenters"}[name]
    assert told in use
    assert "Model versions: none" in list(found.lines())


def test_sets_for_the_masks_of_a_test_patient_are_told(root: Path) -> None:
    store = root / f"data/sets/{MODEL}-test/index.parquet"
    key = json.loads((root / "runs" / MODEL / "run.json").read_text())["run_key"]
    pd.read_parquet(store).assign(generator=MODEL, model=key).to_parquet(store, index=False)
    (found,) = lineage(root, TEST).sets
    assert found[0] == f"data/sets/{MODEL}-test"
    assert found[1].endswith("of its images were drawn for the patient's own masks")


def test_exports_are_told_of_versions_and_of_masks(root: Path) -> None:
    for masks in ("masks", "acdc"):
        about = {"what": "synthetic set", "count": 20, "format": "png", "out": "/given/out", "masks": masks}
        note_export(root, [(MODEL, 1)], about)
    assert [export.about["masks"] for export in lineage(root, TRAIN).exports] == ["masks", "acdc"]
    assert [export.about["masks"] for export in lineage(root, ELSEWHERE).exports] == ["acdc"]  # perhaps this patient's masks
    assert lineage(root, HOLDOUT).exports == ()


def test_an_unknown_patient_is_an_error(root: Path) -> None:
    with pytest.raises(DataError, match=r"no dataset has one\. Did you mean"):
        lineage(root, "mnms-train-0")
    before = (root / "params.yaml").read_bytes()
    with pytest.raises(DataError, match="nobody"):
        exclude(root, "nobody")
    assert (root / "params.yaml").read_bytes() == before


def test_a_name_in_two_datasets_must_be_told_apart(root: Path) -> None:
    path = root / "data/manifests/acdc.parquet"
    manifest = pd.read_parquet(path)
    pd.concat([manifest, pd.DataFrame({"subject": [TRAIN], "duplicate_of": [""]})]).to_parquet(path, index=False)
    with pytest.raises(DataError, match=f"acdc/{TRAIN}, mnms/{TRAIN}"):
        lineage(root, TRAIN)
    assert numbers(root, f"acdc/{TRAIN}") == []


def test_excluding_names_the_patient_in_the_parameters_and_marks_the_versions(root: Path) -> None:
    promote(root, MODEL)
    found = exclude(root, TRAIN)
    assert [version.number for version in found.versions] == [1]
    assert section("data", DataSettings, root).excluded == (f"mnms/{TRAIN}", "mnms/copy-of-00")
    assert WITHDRAWN in tags(root, 1)
    assert registry.approved(connect(root), MODEL) is not None  # to demote it is for people to decide
    assert [event.what for event in read_chain(connect(root), MODEL).history] == ["approved", "consent withdrawn"]
    assert TRAIN not in json.dumps(tags(root, 1))
    with pytest.raises(DataError, match="withdrawn the consent"):
        promote(root, MODEL, 1)

    since = tags(root, 1)[WITHDRAWN]
    exclude(root, "copy-of-00")  # again, under the other name: nothing new
    assert section("data", DataSettings, root).excluded == (f"mnms/{TRAIN}", "mnms/copy-of-00")
    assert (tags(root, 1)[WITHDRAWN], len(read_chain(connect(root), MODEL).history)) == (since, 2)


def test_an_excluded_patient_is_still_found_by_every_name(root: Path) -> None:
    """After the next run the manifest does not know the patient any more; the report of ingest does."""
    exclude(root, TRAIN)
    path = root / "data/manifests/mnms.parquet"
    manifest = pd.read_parquet(path)
    manifest[~manifest["subject"].isin([TRAIN, "copy-of-00"])].to_parquet(path, index=False)
    report = root / "reports/figures/ingest-mnms.json"
    report.write_text(json.dumps(json.loads(report.read_text()) | {"excluded": [["copy-of-00", TRAIN]]}))
    assert numbers(root, "copy-of-00") == [1]


def test_a_registry_that_forgot_the_mark_is_no_way_around_it(root: Path) -> None:
    """``syncmri sync`` makes the versions anew in a fresh database, without the tag; the parameters know."""
    exclude(root, VAL)
    tracking = connect(root)
    tracking.client.delete_model_version_tag(registry.registered_name(MODEL), "1", WITHDRAWN)
    with pytest.raises(DataError, match="withdrawn the consent"):
        promote(root, MODEL)


def test_a_tag_that_points_elsewhere_hides_nobody(root: Path) -> None:
    """What a package learnt from is read in the in-house store, not by what MLflow says of a version."""
    name, digest = registry.registered_name(MODEL), registry.version(connect(root), MODEL, 1).digest
    connect(root).client.set_model_version_tag(name, "1", registry.DIGEST, "x")
    found = exclude(root, TRAIN)
    assert found.packages == ((MODEL, digest),)
    assert any("Packages of no version that MLflow shows" in line for line in found.lines())
    assert read_chain(connect(root), MODEL).withdrawn == {digest}


def test_a_withdrawal_counts_here_though_mlflow_is_down(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = registry.version(connect(root), MODEL, 1).digest
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(TrackingError, match="the withdrawal counts"):
            exclude(root, TRAIN)
    assert section("data", DataSettings, root).excluded == (f"mnms/{TRAIN}", "mnms/copy-of-00")
    assert read_chain(connect(root), MODEL).withdrawn == {digest}


def test_excluding_a_held_out_patient_marks_no_version(root: Path) -> None:
    assert exclude(root, HOLDOUT).versions == ()
    assert WITHDRAWN not in tags(root, 1)
    assert promote(root, MODEL).approved
