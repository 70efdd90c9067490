"""``syncmri generate`` on a project with approved models of random weights."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from app.cli import app
from app.export.make import Request, make_set
from cmr.errors import DataError
from cmr.nifti import write_volume
from cmr.store import SliceStore
from mlops.exports import exports
from mlops.promotion import demote, promote
from tests.app.approved_project import SIZE, approved_by_override, consent_withdrawn

FORMATS = ("store", "nifti", "nnunet", "png")


@pytest.fixture(scope="module")
def made(approved_project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A set of three images in each format."""
    folder = tmp_path_factory.mktemp("sets")
    for name in FORMATS:
        make_set(approved_project, Request("ddpm", folder / name, count=3, format=name))
    return {name: folder / name for name in FORMATS}


def test_store_says_of_each_slice_where_it_comes_from(made: dict[str, Path]) -> None:
    store = SliceStore.open(made["store"])
    assert len(store) == 3
    assert store.index["subject"].tolist() == [f"synthetic-0000{number}" for number in range(3)]
    assert set(store.index["generator"]) == {"ddpm"}
    assert set(store.index["version"]) == {1}
    assert set(store.index["steps"]) == {3}
    assert store.index["seed"].nunique() == store.index["mask_seed"].nunique() == 3
    assert (store.masks > 0).any(axis=(1, 2)).all()
    np.testing.assert_allclose(store.index["row_mm"], 160 / SIZE)


def test_all_formats_hold_the_same_set(made: dict[str, Path]) -> None:
    masks = SliceStore.open(made["store"]).masks
    cases = sorted((made["nnunet"] / "Dataset900_SynCMRI/labelsTr").glob("*.nii.gz"))
    np.testing.assert_array_equal([np.asarray(nib.load(case).dataobj)[:, :, 0].T for case in cases], masks)
    assert len(list((made["nifti"] / "training").iterdir())) == len(list((made["png"] / "images").glob("*.png"))) == 3


def test_the_same_seed_gives_the_same_set_and_another_one_another(
    approved_project: Path, made: dict[str, Path], tmp_path: Path
) -> None:
    first = SliceStore.open(made["store"])
    make_set(approved_project, Request("ddpm", tmp_path / "more", count=5))
    more = SliceStore.open(tmp_path / "more")
    np.testing.assert_array_equal(more.masks[:3], first.masks)
    assert more.index["seed"].tolist()[:3] == first.index["seed"].tolist()
    make_set(approved_project, Request("ddpm", tmp_path / "other", count=3, seed=1))
    assert SliceStore.open(tmp_path / "other").digest() != first.digest()


def test_nothing_tells_of_a_patient_or_a_place(approved_project: Path, made: dict[str, Path], tmp_path: Path) -> None:
    make_set(approved_project, Request("ddpm", tmp_path / "acdc", count=6, dataset="acdc"))
    subjects = {name for dataset in ("acdc", "mnms") for name in _index(approved_project, dataset)["subject"]}
    telling = [*subjects, str(approved_project), str(tmp_path), *(str(folder) for folder in made.values())]
    files = [path for folder in (*made.values(), tmp_path / "acdc") for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 30
    for path in files:
        raw = path.read_bytes()
        content = nib.load(path).to_bytes() if path.name.endswith(".gz") else raw
        for word in telling:
            assert word.encode() not in raw + content, f"{path} tells of {word}"
            assert word not in str(path.relative_to(path.parents[2]))


def test_the_datasheet_names_versions_licences_figures_and_what_was_withheld(made: dict[str, Path]) -> None:
    page = (made["png"] / "datasheet.md").read_text()
    assert "`syncmri-ddpm` version 1" in page
    assert "`syncmri-masks` version 1" in page
    assert "0 were nearer to one than" in page
    assert "## Licences" in page
    assert "| 0.64 | 0.595 to 0.672 | 24 |" in page  # mask adherence
    assert "not measured" in page
    assert "override" not in page
    facts = json.loads((made["png"] / "provenance.json").read_text())
    assert [model["version"] for model in facts["models"]] == [1, 1]
    assert facts["images"]["drawn"] == 3


def test_the_ledger_remembers_the_export(approved_project: Path, made: dict[str, Path]) -> None:
    (export,) = [one for one in exports(approved_project) if one.about["out"] == str(made["nnunet"])]
    assert set(export.versions) == {("ddpm", 1), ("masks", 1)}
    assert (export.about["count"], export.about["format"], export.about["masks"]) == (3, "nnunet", "masks")


def test_masks_of_a_dataset_come_in_another_order(approved_project: Path, tmp_path: Path) -> None:
    made = make_set(approved_project, Request("ldm", tmp_path / "set", count=20, dataset="acdc"))
    real = SliceStore.open(approved_project / "data/masks/acdc").masks
    drawn = SliceStore.open(tmp_path / "set").masks
    rows = [np.flatnonzero((real == mask).all(axis=(1, 2)))[0] for mask in drawn]
    assert made.masks_withheld is None
    assert len(set(rows)) == 20
    assert rows != sorted(rows)
    page = (tmp_path / "set/datasheet.md").read_text()
    assert "those of real patients" in page
    assert "stands under: CC0 1.0." in page  # of phantoms


def test_masks_from_a_nifti_file_are_brought_onto_the_grid(approved_project: Path, tmp_path: Path) -> None:
    plane = np.zeros((80, 60), np.uint8)
    plane[50:62, 20:32], plane[53:59, 23:29] = 2, 1
    volume = np.stack([np.zeros_like(plane), plane])
    write_volume(tmp_path / "mask.nii.gz", volume, (10.0, 2.5, 2.5), np.eye(4))
    make_set(approved_project, Request("ddpm", tmp_path / "set", masks=tmp_path / "mask.nii.gz"))
    (mask,) = SliceStore.open(tmp_path / "set").masks
    assert [int((mask == label).sum()) for label in range(4)] == [SIZE * SIZE - 36, 9, 27, 0]  # pixels of 5 mm
    rows = np.flatnonzero((mask > 0).any(axis=1))
    assert rows.mean() == pytest.approx(SIZE / 2 - 0.5, abs=1)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model", "ddpm", "--format", "dicom"], "Known: store, nifti, nnunet, png"),
        (["--model", "fm"], "models:/syncmri-fm@approved does not exist"),
        (["--model", "gan"], "gan"),
        (["--model", "masks"], "name a generator"),
        (["--model", "ddpm", "--dataset", "lidc"], "known: acdc, mnms"),
        (["--model", "ddpm", "--dataset", "full"], "known: acdc, mnms"),
        (["--model", "ddpm", "--masks", "nowhere"], "there is no such"),
        (["--model", "ddpm", "--seed", "-1"], "2^63"),
        (["--model", "ddpm", "--steps", "2000"], "takes 1 to 1000"),
        (["--model", "ddpm", "--masks", "data/masks/full", "--dataset", "acdc"], "give one of them"),
    ],
)
def test_a_request_that_cannot_be_met_says_why_and_leaves_nothing(
    approved_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    monkeypatch.chdir(approved_project)
    done = CliRunner().invoke(app, ["generate", *words, "--out", str(tmp_path / "set"), "-n", "2"])
    assert isinstance(done.exception, DataError)
    assert expected in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(approved_project: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(DataError, match="exists already"):
        make_set(approved_project, Request("ddpm", tmp_path, count=2))
    assert (tmp_path / "thesis.txt").read_text() == "three years"


def test_the_command_tells_what_it_made(approved_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(approved_project)
    done = CliRunner().invoke(app, ["generate", "--model", "ddpm", "--out", str(tmp_path / "set"), "-n", "2", "--steps", "1"])
    assert done.exit_code == 0, done.output
    assert "2 images in" in done.output
    assert "drawn by syncmri-ddpm 1" in done.output
    assert set(SliceStore.open(tmp_path / "set").index["steps"]) == {1}


def test_an_override_is_marked_and_a_demotion_refused_by_name(approved_project: Path, tmp_path: Path) -> None:
    demote(approved_project, "ddpm", user="test")
    with pytest.raises(DataError, match=r"models:/syncmri-ddpm@approved does not exist.*demoted on .* by test"):
        make_set(approved_project, Request("ddpm", tmp_path / "refused", count=2))
    assert not (tmp_path / "refused").exists()
    promote(approved_project, "ddpm", user="test")
    with approved_by_override(approved_project, "ddpm", "for a talk"):
        asked = Request("ddpm", tmp_path / "set", count=2, dataset="mnms")
        assert "for a talk" in make_set(approved_project, asked).model
    assert "was approved by override" in (tmp_path / "set/datasheet.md").read_text()
    assert json.loads((tmp_path / "set/provenance.json").read_text())["models"][0]["approved_by_override"] == "for a talk"


def test_nothing_new_is_given_out_from_a_version_whose_patient_has_withdrawn_the_consent(
    approved_project: Path, tmp_path: Path
) -> None:
    refused = pytest.raises(DataError, match=r"withdrawn the consent.*syncmri demote masks")
    with consent_withdrawn(approved_project, "masks"), refused:
        make_set(approved_project, Request("ddpm", tmp_path / "set", count=2))
    assert list(tmp_path.iterdir()) == []


def _index(root: Path, dataset: str) -> pd.DataFrame:
    return SliceStore.open(root / "data/slices" / dataset).index
