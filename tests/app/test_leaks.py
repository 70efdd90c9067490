"""What leaves the house after a promotion, and what MLflow shows: no scan, no mask and no name of a patient, no path."""

import json
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest

from app.export import FORMATS
from app.export.make import Request, make_set
from app.studio import render
from app.studio.drawing import Drawn
from app.studio.model_cache import ModelCache
from mlops.house import FILTER, house_folder
from tests.app.approved_project import MODELS, SIZE
from tests.leaks import identifiers, identifiers_in, real_pictures_in
from tests.pipelines.report_project import heart


def test_an_export_shows_no_scan_and_names_nobody(approved_project: Path, tmp_path: Path) -> None:
    for name in FORMATS:
        folder = tmp_path / name
        make_set(approved_project, Request("ddpm", folder, count=3, format=name, seed=5))
        assert real_pictures_in([folder], approved_project) == []
        assert identifiers_in([folder], approved_project) == []


def test_a_package_without_its_in_house_part_names_nobody(approved_project: Path) -> None:
    for model in MODELS:
        folder = approved_project / "packages" / model
        assert real_pictures_in([folder / "model"], approved_project) == []
        # Examples of paths in the docstrings of the code that the model brings along are nobody's.
        told = [path for path in (folder / "model").rglob("*") if path.is_file() and path.suffix != ".py"]
        assert identifiers_in([*told, folder / "manifest.json"], approved_project) == []


def test_what_mlflow_keeps_of_models_and_approvals_shows_no_scan_and_names_no_patient(approved_project: Path) -> None:
    stored = approved_project / "mlartifacts"
    assert real_pictures_in([stored], approved_project) == []
    patients = {name for name in identifiers(approved_project) if "train" in name or "holdout" in name}
    assert patients
    statements = list(stored.rglob("statement-*.json"))
    assert statements
    texts = [b64decode(json.loads(path.read_text())["payload"]) for path in statements]
    texts += [path.read_bytes() for path in stored.rglob("*") if path.is_file()]
    assert not [name for name in patients for text in texts if name.encode() in text]
    assert not list(stored.rglob(FILTER))


def test_the_check_finds_what_is_in_house(approved_project: Path) -> None:
    """The same comparison on what does show scans, so that the tests here can fail."""
    assert real_pictures_in([approved_project / "data/cohort/train"], approved_project)
    assert identifiers_in([approved_project / "data/cohort/train"], approved_project)
    assert (house_folder(approved_project) / "packages").is_dir()


def test_no_page_of_the_studio_shows_a_scan_or_names_anybody(approved_project: Path) -> None:
    model_cache = ModelCache(approved_project)
    approved, mask = model_cache.take("ddpm"), heart(np.random.default_rng(3), SIZE)
    image = approved.images(mask[None], [4])[0]
    pages = [
        render.results([Drawn(approved, mask, image, ((0.0, image), (1.0, image)), 4, 3, 0.1)]),
        render.missing(model_cache.offers()),
        render.registry_state(approved_project),
        approved.card,
    ]
    for page in pages:
        assert real_pictures_in(page, approved_project) == []
        assert identifiers_in(page, approved_project) == []


@pytest.mark.parametrize("model", MODELS)
def test_a_figure_of_a_version_names_nobody(approved_project: Path, model: str) -> None:
    figures = approved_project / "packages" / model / "model/figures.json"
    assert identifiers_in(figures.read_text(), approved_project) == []
