"""The stages features, fidelity and privacy on drawn hearts: with and without the metric networks."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from cmr.errors import DataError
from cmr.store import SliceStore
from evaluation.networks import weights
from evaluation.networks.sources import Official
from models.segmenter import Segmenter, SegmenterNetwork
from pipelines import features, fidelity, privacy, references
from pipelines.weights import INCEPTION, LPIPS, RECORD
from tests.mlops.conftest import REPOSITORY
from tests.pipelines.report_project import heart, picture

SIZE = 32
SETS = ("fid", "kid", "precision", "recall")


def write(path, dataset, split, patients, each=3, size=SIZE, **columns):
    rng = np.random.default_rng(len(path) + patients)
    masks = np.stack([heart(rng, size) for _ in range(patients * each)])
    index = pd.DataFrame({"subject": np.repeat([f"{dataset}-{split}-{i}" for i in range(patients)], each), "split": split})
    about = {"dataset": dataset, "vendor": "A", "labelled": True, **columns}
    return SliceStore.write(path, index.assign(**about), masks, np.stack([picture(mask, rng) for mask in masks]))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Test slices of 4 patients, training slices of 8, 12 images of synthetic masks, ACDC's test slices of 2 patients."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    for split, patients in (("train", 8), ("test", 4), ("holdout", 3)):
        write(f"data/cohort/{split}", "mnms", split, patients)
    write("data/slices/acdc", "acdc", "test", 2)
    write("data/slices/mnms", "mnms", "test", 1)  # not read: the cohort holds what counts
    write("data/sets/ddpm-test", "mnms", "test", 4, model="key")
    write("data/sets/ddpm-full", "synthetic", "full", 24, each=1, model="key")
    torch.manual_seed(0)
    network = Segmenter(SegmenterNetwork((4, 8, 12)))
    monkeypatch.setattr(fidelity, "load_network", lambda *_: network)
    for stage in (fidelity, privacy):
        monkeypatch.setattr(stage, "record_figures", lambda *_: None)
    return tmp_path


@pytest.fixture
def offline(project, monkeypatch):
    """An empty cache, and sources that are not there."""
    monkeypatch.setenv("SYNCMRI_WEIGHTS", str(project / "weights"))
    gone = Official((project / "gone.pth").as_uri(), sha256="0" * 64, convert=lambda _: {}, megabytes=1)
    without = {name: replace(of, sources=(gone,)) for name, of in weights.WEIGHTS.items()}
    monkeypatch.setattr(weights, "WEIGHTS", without)


class Inception:
    """Stands in for the network: eight fixed mixtures of the pixels."""

    def __init__(self):
        self.seen = []

    def __call__(self, images):
        self.seen.append(len(images))
        mixture = np.random.default_rng(0).normal(size=(images[0].size, 8)) / SIZE
        return np.asarray(images, dtype=np.float64).reshape(len(images), -1) @ mixture


@pytest.fixture
def networks(project, monkeypatch):
    inception = Inception()
    lpips = SimpleNamespace(
        distance=lambda first, second: (first - second).square().mean(dim=(1, 2, 3)),
        features=lambda images, file=None: np.asarray(images, dtype=np.float32).reshape(len(images), -1) / SIZE,
    )
    monkeypatch.setattr(features, "obtain", lambda name: None)
    for stage in (features, fidelity):
        monkeypatch.setattr(stage, "InceptionFeatures", lambda: inception)
    for stage in (fidelity, privacy):
        monkeypatch.setattr(stage, "lpips_network", lambda: lpips)
    return inception


def figures(name):
    content = json.loads(Path(f"reports/figures/{name}.json").read_text())
    return content["figures"], content["notes"]


def test_without_weights_every_figure_of_theirs_says_why_and_what_to_do(offline):
    features.main()
    fidelity.main("ddpm")
    found, notes = figures("fidelity-ddpm")
    trees = (found, found["floor"], found["full"], found["floor_datasets"]["acdc"])
    for name in SETS:
        (reason,) = {tree[name]["reason"] for tree in trees if tree[name]["value"] is None}
        assert all(words in reason for words in ("inception-fid", "syncmri weights fetch", "dvc repro --force"))
    for tree in (found, found["floor"]):
        assert tree["lpips"]["value"] is None
        assert "lpips-vgg16" in tree["lpips"]["reason"]
        assert tree["ssim"]["value"] is not None
    assert all(tree["frechet_segmenter"]["value"] >= 0 for tree in trees)
    assert notes["fid_against_n"] == {}

    privacy.main("ddpm")
    near, _ = figures("privacy-ddpm")
    assert near["nn_lpips"] == {"value": None, "reason": found["lpips"]["reason"]}
    assert near["nn_l2"]["value"] > 0


def test_what_was_missing_is_not_looked_for_again(offline, monkeypatch):
    features.main()
    monkeypatch.setattr(weights, "fetch", lambda *_: pytest.fail("it looked"))
    fidelity.main("ddpm")
    privacy.main("ddpm")


def test_with_weights_all_figures_are_at_one_number_of_images(networks):
    features.main()
    assert json.loads(RECORD.read_text()) == {INCEPTION: "", LPIPS: ""}
    real = references.read_features()
    assert {name: len(one.rows) for name, one in real.items()} == {"test": 12, "train": 12, "other-acdc": 6}
    assert len(set(real["train"].patients)) == 4  # whole patients
    once = list(networks.seen)

    fidelity.main("ddpm")
    assert networks.seen[len(once) :] == [12, 12]  # the generator's own images only, and no more of Full-Syn than are compared
    found, notes = figures("fidelity-ddpm")
    for name in (*SETS, "frechet_segmenter"):
        trees = (found, found["floor"], found["full"], found["floor_datasets"]["acdc"])
        assert [tree[name]["n"] for tree in trees] == [12, 12, 12, 6]
    for name in ("made", "full", "train"):
        curve = notes["fid_against_n"][name]
        assert curve["n"] == [2, 4, 6, 8, 10, 12]
        assert len(curve["frechet"]) == 6
    assert notes["fid_against_n"]["made"]["frechet"][-1] == pytest.approx(found["fid"]["value"], rel=1e-4)
    assert found["lpips"]["value"] > 0
    assert found["floor"]["lpips"]["n"] == 12


def test_copies_of_the_test_slices_are_perfect(networks):
    store = SliceStore.open("data/cohort/test")
    content = store.index.assign(model="key"), np.asarray(store.masks), np.asarray(store.images)
    SliceStore.write("data/sets/ddpm-test", *content)
    features.main()
    fidelity.main("ddpm")
    found, _ = figures("fidelity-ddpm")
    assert found["fid"]["value"] == pytest.approx(0, abs=1e-4)
    assert (found["precision"]["value"], found["recall"]["value"], found["lpips"]["value"]) == (1, 1, 0)
    assert found["floor"]["fid"]["value"] > 0
    assert found["floor"]["lpips"]["value"] > 0


def test_privacy_has_neighbours_by_lpips(networks):
    privacy.main("ddpm")
    near, _ = figures("privacy-ddpm")
    for name in ("nn_lpips", "nn_lpips_holdout", "nn_lpips_paper"):
        assert near[name]["value"] > 0
    assert {"closer_to_train", "copies", "nndr"} <= near["lpips"].keys()
    assert near["floor"]["nn_lpips"]["value"] > 0


def test_one_patient_has_figures_without_intervals_and_no_paired_floor(networks):
    for path in ("data/cohort/test", "data/sets/ddpm-test"):
        write(path, "mnms", "test", 1, each=12, model="key")
    features.main()
    fidelity.main("ddpm")
    found, _ = figures("fidelity-ddpm")
    assert (found["fid"]["ci_low"], bool(found["fid"]["reason"])) == (None, True)
    assert "only one" in found["floor"]["lpips"]["reason"]


def test_too_few_images_are_missing_figures(networks):
    for path in ("data/cohort/test", "data/sets/ddpm-test"):
        write(path, "mnms", "test", 2, each=1, model="key")
    features.main()
    fidelity.main("ddpm")
    found, notes = figures("fidelity-ddpm")
    assert "needs at least 4" in found["precision"]["reason"]
    assert notes["fid_against_n"] == {}


def test_images_of_another_size_are_refused(networks):
    features.main()
    write("data/sets/ddpm-full", "synthetic", "full", 24, each=1, size=16, model="key")
    with pytest.raises(DataError, match="'full': 16 × 16 pixels; expected 32 × 32"):
        fidelity.main("ddpm")
    write("data/slices/acdc", "acdc", "test", 2, size=16)
    with pytest.raises(DataError, match="'other-acdc': 16 × 16"):
        features.main()


def test_another_number_of_images_than_masks_is_refused(networks):
    features.main()
    write("data/sets/ddpm-test", "mnms", "test", 3, model="key")
    with pytest.raises(DataError, match="expected the same number"):
        fidelity.main("ddpm")


@pytest.mark.slow
def test_with_the_true_networks(project):
    try:
        for name in (INCEPTION, LPIPS):
            weights.obtain(name)
    except DataError as error:
        pytest.skip(str(error))
    features.main()
    fidelity.main("ddpm")
    found, _ = figures("fidelity-ddpm")
    assert all(found[name]["value"] is not None for name in (*SETS, "lpips"))
    assert found["fid"]["value"] > 0
    assert 0 < found["lpips"]["value"] < 1.5
