"""The trials of a study find the project's data and networks where the project lies now."""

import shutil
from pathlib import Path

import pytest

from mlops.settings import load_params
from mlops.tuning.studies import create, load
from mlops.tuning.study import Study


@pytest.fixture
def study(demo: Path) -> Study:
    for name in ("data", "runs/segmenter", "runs/autoencoder"):
        (demo / name).mkdir(parents=True)
        (demo / name / "here").write_text("old")
    study = create(demo, "ddpm", several=False, trials=2)
    study.prepare(0, {})
    return study


def links(study: Study, number: int = 0) -> dict[str, Path]:
    folder = study.trial_folder(number)
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_symlink()}


def test_a_trial_follows_its_project(study: Study, tmp_path: Path) -> None:
    assert links(study).keys() == {"data", "runs/segmenter", "runs/autoencoder"}
    moved = load(study.root.rename(tmp_path / "my project ü"), study.name)
    for name, link in links(moved).items():
        assert link.resolve() == moved.root / name
    assert load_params(moved.trial_folder(0))["ddpm"]


def test_a_trial_of_a_copy_reads_the_copy(study: Study, tmp_path: Path) -> None:
    copy = load(Path(shutil.copytree(study.root, tmp_path / "copy", symlinks=True)), study.name)
    (copy.root / "data/here").write_text("new")
    assert (copy.trial_folder(0) / "data/here").read_text() == "new"


def test_a_link_to_the_old_place_is_mended_as_the_study_goes_on(study: Study, tmp_path: Path) -> None:
    for name, link in links(study).items():  # as an earlier version made them
        link.unlink()
        link.symlink_to(study.root / name)
    moved = load(study.root.rename(tmp_path / "renamed"), study.name)
    (moved.trial_folder(0) / "state").write_text("of an earlier attempt")
    folder = moved.prepare(0, {})
    assert (folder / "state").is_file()
    for name in ("data", "runs/segmenter", "runs/autoencoder"):
        assert (folder / name).resolve() == moved.root / name
        assert (folder / name / "here").is_file()
