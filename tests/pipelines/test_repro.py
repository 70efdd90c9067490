"""One real ``dvc repro`` of a tiny phantom, and what must and must not run after it."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from cmr.errors import DataError
from cmr.store import SliceStore
from evaluation.networks import weights
from pipelines.report import held_back
from tests.leaks import identifiers_in, real_pictures_in
from tests.pipelines.project import checkout, configure, environment, git, ran, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project whose pipeline has run from phantom to report, committed."""
    root = checkout(tmp_path_factory.mktemp("finished"))
    configure(root)
    run(root, "app.cli", "run")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first results")
    return root


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished project that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))


def _weights(root: Path, network: str) -> str:
    return hashlib.sha256((root / "runs" / network / "weights.safetensors").read_bytes()).hexdigest()


def test_metrics_have_the_names_others_rely_on(finished):
    metrics = json.loads((finished / "reports/metrics.json").read_text())
    for structure in ("LV", "MYO", "RV"):
        for feature in ("pixel_share", "area", "roundness", "eccentricity", "solidity"):
            assert {"real", "generated", "p_value", "ks_d"} <= metrics["masks"][structure][feature].keys()
    assert 0 <= metrics["masks"]["valid_share"]["value"] <= 1
    for name in ("ssim", "ms_ssim", "psnr"):
        assert metrics["fidelity"]["ddpm"][name]["value"] is not None
    for name in ("lpips", "fid", "kid", "precision", "recall"):  # the tests have no weights
        assert "syncmri weights fetch" in metrics["fidelity"]["ddpm"][name]["reason"]
    assert metrics["fidelity"]["ddpm"]["frechet_segmenter"]["value"] is not None
    for setup in ("acdc-real", "mnms-real", "ddpm-full"):
        for test in ("acdc", "mnms"):
            assert {"dice", "iou", "hd95", "asd"} <= metrics["utility"][setup][test]["clinical"].keys()
            assert {"dice", "iou", "hd95", "asd"} <= metrics["utility"][setup][test]["paper"].keys()
    for network in ("ddpm", "masks"):
        for name in ("nn_l2", "nndr", "closer_to_train", "copies", "mia_auc", "mia_auc_blind", "mia_auc_control"):
            assert metrics["privacy"][network][name]["value"] is not None
    assert metrics["data"]["duplicates"] == [["patient001", "patient102"]]
    counts = {split: metrics["data"]["mnms"][split]["patients"] for split in ("train", "val", "test", "holdout")}
    assert counts == {"train": 5, "val": 2, "test": 2, "holdout": 3}
    assert (finished / "reports/report.html").stat().st_size > 10_000


def test_what_may_leave_the_house_is_whole_and_shows_no_patient(finished):
    """Figures of the real stages: none is held back, and neither the release nor MLflow holds a scan, a patient or a place."""
    metrics, released = (
        json.loads((finished / "reports" / name).read_text()) for name in ("metrics.json", "release/metrics.json")
    )
    assert held_back(metrics, released) == []
    for place in (finished / "reports/release", finished / "reports/release/tables"):
        assert real_pictures_in(place, finished) == []
        assert identifiers_in(place, finished) == []
    client = MlflowClient(f"sqlite:///{finished}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("syncmri").experiment_id])
    assert identifiers_in(json.dumps([[run.data.params, run.data.tags] for run in runs]), finished) == []
    pictures = [*(finished / "mlartifacts").rglob("pictures"), *(finished / "mlartifacts").rglob("report.html")]
    assert len(pictures) > 4
    assert real_pictures_in(pictures, finished) == []
    assert real_pictures_in(finished / "reports/report.html", finished)


def test_no_hold_out_patient_is_in_anything_that_is_trained_on(finished):
    held = set(SliceStore.open(finished / "data/cohort/holdout").index["subject"])
    assert len(held) == 3
    for path in ("data/cohort/train", "data/cohort/val", "data/sets/mnms-real", "data/masks/mnms"):
        assert not held & set(SliceStore.open(finished / path).index["subject"])


def test_every_network_has_a_tracked_run_with_its_figures(finished):
    client = MlflowClient(f"sqlite:///{finished}/mlflow.db")
    experiment = client.get_experiment_by_name("syncmri")
    assert experiment is not None
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    assert {"masks", "ddpm", "segmenter/acdc-real", "segmenter/mnms-real", "segmenter/ddpm-full"} <= runs.keys()
    ddpm = runs["ddpm"]
    assert len(client.get_metric_history(ddpm.info.run_id, "train_loss")) > 2
    assert {"fidelity/ssim", "privacy/nn_l2"} <= ddpm.data.metrics.keys()
    assert any(artifact.path.endswith("drawn.png") for artifact in client.list_artifacts(ddpm.info.run_id, "pictures"))
    before = len(runs)
    run(finished, "app.cli", "sync")
    assert len(client.search_runs([experiment.experiment_id])) == before


def test_a_second_repro_runs_nothing(finished):
    assert ran(run(finished, "dvc", "repro")) == []


def test_a_metrics_parameter_retrains_nothing(project):
    configure(project, evaluation__bootstrap="60")
    stages = ran(run(project, "dvc", "repro"))
    assert "fidelity@ddpm" in stages
    assert not [stage for stage in stages if stage.startswith(("train", "sample", "segment", "slices", "preprocess"))]


@pytest.mark.parametrize("generator", ["ddpm", "ldm", "fm"])
def test_a_hyper_parameter_of_one_generator_reruns_what_is_that_generators(project, generator):
    others = {"ddpm", "ldm", "fm", "masks"} - {generator}
    configure(project, **{f"{generator}__train__learning_rate": "0.0007"})
    stages = ran(run(project, "dvc", "repro"))
    assert {f"train@{generator}", f"sample@{generator}-full", f"segment@{generator}-full", f"fidelity@{generator}"} <= set(
        stages
    )
    assert {"utility", "report"} <= set(stages)
    again = [stage for stage in stages if not stage.startswith("register")]  # quick, and the same package gives no new version
    assert not [stage for stage in again if any(other in stage for other in others) or stage.startswith("train_autoencoder")]


def test_weights_that_come_later_fill_the_gaps(project):
    try:
        cache = str(weights.obtain("inception-fid").parent)
        weights.obtain("lpips-vgg16")
    except DataError as error:
        pytest.skip(str(error))
    assert "features" not in ran(
        run(project, "dvc", "repro", SYNCMRI_WEIGHTS=cache)
    )  # what is missing stays until it is asked for
    run(project, "dvc", "repro", "--force", "--single-item", "features", SYNCMRI_WEIGHTS=cache)
    stages = ran(run(project, "dvc", "repro", "fidelity@ddpm", "privacy@ddpm", SYNCMRI_WEIGHTS=cache))
    assert sorted(stages) == ["fidelity@ddpm", "privacy@ddpm"]
    fidelity, privacy = (
        json.loads((project / f"reports/figures/{axis}-ddpm.json").read_text())["figures"] for axis in ("fidelity", "privacy")
    )
    for name in ("fid", "kid", "precision", "recall"):
        assert all(one[name]["value"] is not None for one in (fidelity, fidelity["floor"], fidelity["full"]))
    assert fidelity["lpips"]["value"] > 0
    assert privacy["nn_lpips"]["value"] > 0


def test_a_changed_subject_is_reprocessed_alone(project):
    """One raw scan changes: one subject goes through stage 1, the others come from the cache."""
    import nibabel as nib
    import numpy as np

    path = project / "data/phantom/acdc/training/patient002/patient002_frame01.nii.gz"
    scan = nib.load(path)
    values = np.asanyarray(scan.dataobj).copy()
    values[0, 0, 0] += 5
    nib.save(nib.Nifti1Image(values, scan.affine, scan.header), path)
    configure(project, phantom__datasets="[mnms]", data__raw__acdc__root="data/phantom/acdc")
    output = run(project, "dvc", "repro", "preprocess@acdc")
    assert "1 subjects processed, 5 from the cache" in output


@pytest.mark.parametrize("stage", ["train_masks", "train@ddpm"])
def test_a_killed_training_goes_on_to_the_same_weights(project, stage):
    network = stage.split("@")[-1].removeprefix("train_")
    expected = _weights(project, network)
    shutil.rmtree(project / "runs" / network)
    states = project / ".syncmri/state"
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--single-item", stage]
    repro = subprocess.Popen(
        command, cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list(states.glob("*.pt")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(repro.pid, signal.SIGKILL)
    repro.wait()
    assert list(states.glob("*.pt")), "the training ended, or never began, before it could be killed"
    assert not (project / "runs" / network / "weights.safetensors").exists()
    output = run(project, "dvc", "repro", "--force", "--single-item", stage)
    assert "| 0/40" not in output  # it went on, it did not begin anew
    assert _weights(project, network) == expected
    assert not list(states.glob("*.pt"))


def test_data_versions_come_back(finished, tmp_path):
    """Push to a remote, clone, pull: nothing runs. A patient more is a new version; the old one comes back by checkout."""
    origin = Path(shutil.copytree(finished, tmp_path / "origin", symlinks=True))
    remote = tmp_path / "remote"
    run(origin, "dvc", "remote", "add", "--default", "store", str(remote))
    git(origin, "commit", "-qam", "a remote")
    run(origin, "dvc", "push")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(origin), str(clone))
    run(clone, "dvc", "pull")
    assert ran(run(clone, "dvc", "repro")) == []

    raw = tmp_path / "acdc"
    shutil.copytree(clone / "data/phantom/acdc", raw)
    newest = raw / "training" / "patient003"
    shutil.move(newest, tmp_path / "patient003")
    configure(clone, "demo", "--acdc", str(raw), "--take-in", phantom__datasets="[mnms]")
    run(clone, "dvc", "repro", "slices@acdc")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "two training patients")
    before = SliceStore.open(clone / "data/slices/acdc").digest()

    shutil.copytree(tmp_path / "patient003", clone / "data/raw/acdc/training/patient003")
    run(clone, "dvc", "add", "data/raw/acdc")
    output = run(clone, "dvc", "repro", "slices@acdc")
    assert "1 subjects processed" in output
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "three training patients")
    assert SliceStore.open(clone / "data/slices/acdc").digest() != before

    git(clone, "checkout", "-q", "HEAD~1")
    run(clone, "dvc", "checkout", "--force")
    assert sorted(path.name for path in (clone / "data/raw/acdc/training").iterdir()) == ["patient001", "patient002"]
    assert SliceStore.open(clone / "data/slices/acdc").digest() == before
    assert ran(run(clone, "dvc", "repro", "slices@acdc")) == []


def test_a_study_of_few_patients_leaves_the_results_alone_and_goes_on_where_it_was(project):
    before = {path: path.read_bytes() for path in (project / "dvc.lock", project / "reports/metrics.json")}
    run(project, "app.cli", "study", "limited-data", "ddpm", "--patients", "3")
    again = run(project, "app.cli", "study", "limited-data", "ddpm", "--patients", "3")
    assert "Running stage" not in again
    assert {path: path.read_bytes() for path in before} == before
    table = pd.read_csv(project / "reports/studies/limited-data-ddpm.csv")
    assert set(table["patients"]) == {3}
    assert (
        table.set_index(["model", "figure"])["value"]
        .notna()[[("ddpm", "mask_adherence"), ("ddpm", "dice"), ("real", "dice")]]
        .all()
    )
    study = project / ".syncmri/studies/limited-data/ddpm-3"
    assert SliceStore.open(study / "data/cohort/train").index["subject"].nunique() == 3
    assert not (study / "runs/ldm").exists()
