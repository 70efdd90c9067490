"""How a stage ends when its input is at fault: one message, status 1, nothing half-written."""

import subprocess
import sys
from pathlib import Path

import pytest

from mlops.profiles import configure
from tests.cmr.raw import add_acdc_patient
from tests.pipelines.project import REPOSITORY, environment


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project on two ACDC patients, one of whose files is cut short."""
    root = tmp_path / "project"
    (root / "profiles").mkdir(parents=True)
    (root / ".dvc").mkdir()
    for profile in (REPOSITORY / "profiles").iterdir():
        (root / "profiles" / profile.name).write_text(profile.read_text())
    monkeypatch.chdir(root)
    for name in ("patient001", "patient002"):
        add_acdc_patient(tmp_path / "acdc", "training", name)
    add_acdc_patient(tmp_path / "acdc", "testing", "patient101")
    cut = next((tmp_path / "acdc/training/patient002").glob("*_frame01.nii.gz"))
    cut.write_bytes(cut.read_bytes()[:200])
    return root


def _ingest(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.ingest", "acdc"]
    env = environment() | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)


def test_a_cut_file_stops_ingest_with_its_name_and_leaves_nothing(project, tmp_path):
    configure("real", acdc=tmp_path / "acdc")
    done = _ingest(project)
    assert done.returncode == 1
    assert "patient002_frame01.nii.gz" in done.stderr
    assert "--skip-bad" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "data").exists()
    assert not (project / "reports").exists()


def test_a_cohort_without_test_patients_is_refused_before_any_training(tmp_path, monkeypatch):
    import numpy as np
    import pandas as pd

    from cmr.errors import DataError
    from cmr.store import SliceStore
    from pipelines import cohort

    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("generators: {names: [ddpm], train_on: [acdc], patients: null, sources: [full]}")
    index = pd.DataFrame({"subject": ["a", "b"], "split": ["train", "val"], "labelled": [True, True]})
    SliceStore.write("data/slices/acdc", index, np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8), np.float16))
    with pytest.raises(DataError, match="no patient is left for 'test'"):
        cohort.main()


def test_skip_bad_reports_it_and_goes_on(project, tmp_path):
    configure("real", acdc=tmp_path / "acdc", skip_bad=True)
    done = _ingest(project)
    assert done.returncode == 0, done.stderr
    assert "skipped patient002" in done.stdout
    assert (project / "data/manifests/acdc.parquet").is_file()
