"""A patient who withdrew the consent is left out of every stage's output by the next ``dvc repro``."""

from pathlib import Path

import pandas as pd
import pytest

from mlops.profiles import exclude
from tests.pipelines.project import checkout, configure, ran, run


def holds(root: Path, subject: str) -> set[str]:
    """Frames, manifests and stores that the patient is in."""
    tables = [*root.glob("data/*/*/index.parquet"), *root.glob("data/manifests/*.parquet")]
    found = [path for path in tables if subject in set(pd.read_parquet(path)["subject"])]
    return {path.relative_to(root).as_posix() for path in [*found, *root.glob(f"data/frames/*/{subject}.npz")]}


@pytest.mark.slow
def test_an_excluded_patient_is_nowhere_after_the_next_run(tmp_path: Path) -> None:
    root = checkout(tmp_path / "project")
    configure(root)
    run(root, "dvc", "repro", "cohort")
    patient = str(pd.read_parquet(root / "data/cohort/train/index.parquet")["subject"].iloc[0])
    places = ("slices/mnms", "sets/mnms-real", "masks/mnms", "cohort/train")
    assert {f"data/{place}/index.parquet" for place in places} < holds(root, patient)

    exclude(root, [f"mnms/{patient}"])
    told = run(root, "dvc", "repro", "cohort")
    assert holds(root, patient) == set()
    assert f"{patient}: excluded (data.excluded)" in told
    assert "preprocess@acdc" not in ran(told)  # nothing has changed there
