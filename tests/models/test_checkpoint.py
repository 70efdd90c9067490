"""Networks and resume states on disk."""

import json

import pytest
import torch

from cmr.errors import DataError
from models.checkpoint import load_network, load_state, save_network, save_state
from models.ddpm import DDPM

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path, ddpm_network):
    save_network(tmp_path, ddpm_network, DDPM(ddpm_network).state_dict())
    return tmp_path


def test_a_network_comes_back_as_it_was(tmp_path, ddpm_network):
    network = DDPM(ddpm_network).eval()
    save_network(tmp_path, ddpm_network, network.state_dict())
    loaded = load_network(tmp_path, DDPM, CPU)
    images, masks, t = torch.zeros(1, 1, 16, 16), torch.zeros(1, 4, 16, 16), torch.tensor([10])
    with torch.no_grad():
        pair = [net.denoising_error(images, masks, t, torch.ones_like(images))[0] for net in (network, loaded)]
    assert torch.equal(*pair)
    assert not loaded.training


def test_weights_that_do_not_fit_are_refused_by_name(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"widths": [8, 24]}))
    with pytest.raises(DataError, match=r"weights.safetensors.*'unet\.\S+' should be \("):
        load_network(folder, DDPM, CPU)


def test_a_setting_of_another_version_is_refused_by_name(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"colour": 1}))
    with pytest.raises(DataError, match="'colour' is not known"):
        load_network(folder, DDPM, CPU)


def test_a_cut_or_missing_file_is_an_error_for_people(folder):
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(DataError, match="expected a trained network"):
        load_network(folder, DDPM, CPU)
    weights.unlink()
    with pytest.raises(DataError, match="expected a trained network"):
        load_network(folder, DDPM, CPU)


def test_a_state_cut_short_gives_the_one_before_it(tmp_path, capsys):
    path = tmp_path / "state.pt"
    assert load_state(path) is None
    for step in (1, 2):
        save_state(path, {"step": step, "tensor": torch.full((1000,), float(step))})
    assert load_state(path)["step"] == 2
    path.write_bytes(path.read_bytes()[:-700])
    assert load_state(path)["step"] == 1
    assert "cannot be read" in capsys.readouterr().out
