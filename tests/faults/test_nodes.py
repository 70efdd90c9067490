"""The pipeline through ``RAY_ADDRESS``, on a cluster of two nodes: with both, and with the second lost on the way."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cmr.store import SliceStore
from mlops.cluster import joined
from mlops.share import share
from tests.faults.two_nodes import run_and_lose, states
from tests.mlops.conftest import REPOSITORY
from tests.mlops.nodes import cluster
from tests.pipelines.project import checkout, configure, ran, run

TARGETS = ("sample@ddpm-test", "sample_masks", "membership_masks")
FEW = {
    "generators__names": "[ddpm]",
    "generators__sources": "[test]",
    "utility__setups": "[mnms-real]",
    "ddpm__train__max_steps": "120",
    "ddpm__train__validations": "4",
    "ddpm__sampling__micro_batch": "1",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny project whose pipeline has run up to the sampling in the stages' own processes."""
    root = checkout(tmp_path_factory.mktemp("finished"))
    configure(root, **FEW)
    run(root, "dvc", "repro", *TARGETS)
    return root


@pytest.fixture
def project(finished, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))


def _weights_differ_by(root: Path, other: Path, network: str) -> float:
    one, two = (load_file(project / "runs" / network / "weights.safetensors") for project in (root, other))
    assert one.keys() == two.keys()
    return max(float(np.abs(one[name].astype(float) - two[name]).max()) for name in one)


def _apart(root: Path, other: Path, network: str) -> float:
    """Distance of two sets of weights as a share of their size."""
    one, two = (load_file(project / "runs" / network / "weights.safetensors") for project in (root, other))
    flat = [np.concatenate([weights[name].ravel() for name in sorted(weights)]) for weights in (one, two)]
    return float(np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1]))


def _images_differ_by(root: Path, other: Path, path: str) -> float:
    one, two = (np.asarray(SliceStore.open(project / path).images).astype(float) for project in (root, other))
    assert one.shape == two.shape
    return float(np.abs(one - two).mean())


def test_the_pipeline_gives_on_two_nodes_what_it_gives_alone(finished, tmp_path):
    root = checkout(tmp_path / "project")
    configure(root, **FEW)
    with cluster(1, 1) as found:
        output = run(root, "dvc", "repro", *TARGETS, RAY_ADDRESS=found.address)
    assert set(TARGETS) <= set(ran(output))
    for path in ("data/slices/acdc", "data/slices/mnms", "data/cohort/train"):
        assert SliceStore.open(root / path).digest() == SliceStore.open(finished / path).digest()
    assert _weights_differ_by(root, finished, "masks") < 1e-3
    assert _weights_differ_by(root, finished, "ddpm") < 1e-3
    same = np.asarray(SliceStore.open(root / "data/masks/full").masks) == SliceStore.open(finished / "data/masks/full").masks
    assert same.mean() > 0.99
    assert _images_differ_by(root, finished, "data/sets/ddpm-test") < 0.01


def test_a_training_goes_on_when_a_node_is_lost(finished, project):
    configure(project, **FEW, train__workers="2")
    shutil.rmtree(project / "runs/ddpm")
    with cluster(1, 1) as found:
        command = ["dvc", "repro", "--force", "--single-item", "train@ddpm"]
        status, said = run_and_lose(found, project, command, states(project), limit=900)
    assert status == 0, said[-4000:]
    # That of one process: the rounding of gradients that two have summed grows over 120 steps, to 0.003 where it was measured.
    assert _apart(project, finished, "ddpm") < 0.01
    assert not list((project / ".syncmri/state").glob("*.pt"))


def test_sampling_goes_on_when_a_node_is_lost(finished, project):
    configure(project, **FEW, ddpm__sampling__steps="200")
    run(project, "dvc", "repro", "--single-item", "sample@ddpm-test")
    alone = Path(shutil.copytree(project / "data/sets/ddpm-test", project / "data/alone"))
    log = project / ".two_nodes.log"
    with cluster(1, 1) as found:
        command = ["dvc", "repro", "--force", "--single-item", "sample@ddpm-test"]
        status, said = run_and_lose(found, project, command, lambda: "| 2/" in log.read_text(), limit=900)
    assert status == 0, said[-4000:]
    one, two = (SliceStore.open(path) for path in (alone, project / "data/sets/ddpm-test"))
    assert one.index.equals(two.index)
    assert np.abs(np.asarray(one.images).astype(float) - two.images).max() < 2e-3


def test_results_larger_than_an_object_store_are_spilled(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    (tmp_path / "params.yaml").write_text("train:\n  workers: 1\n")
    with cluster(2), joined(tmp_path):
        found = share(_much, range(12), label="much", unit="part", root=tmp_path)
    assert [(part.size, part.min(), part.max()) for part in found] == [(5_000_000, number, number) for number in range(12)]


def _much(number: int) -> np.ndarray:
    """40 MB: three of these fill a node's store."""
    return np.full(5_000_000, float(number))
