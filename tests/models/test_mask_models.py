"""The kinds of mask models: one file, one line in the registry, and a config that says which it is."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from cmr.errors import DataError
from models.base import MaskGenerator
from models.checkpoint import load_network, save_network
from models.data import one_hot
from models.ddpm import DDPM
from models.registry import MASK_MODELS, mask_model, mask_model_class, saved_class
from tests.evaluation.hearts import hearts
from tests.models.conftest import DISTANCES, LINEAR

CPU = torch.device("cpu")


@pytest.fixture(params=sorted(MASK_MODELS))
def network(request, mask_network) -> MaskGenerator:
    torch.manual_seed(0)
    return mask_model({"one_hot": mask_network, "distances": DISTANCES}[request.param]).eval()


@pytest.mark.parametrize("kind", MASK_MODELS)
def test_a_kind_names_its_file_and_its_settings(kind):
    found = mask_model_class(kind)
    assert issubclass(found, MaskGenerator)
    assert found.__module__ == f"models.{kind}"  # on which the stages depend
    assert get_args(get_type_hints(found.Config)["kind"]) == (kind,)


def test_every_kind_keeps_what_the_base_promises(network):
    masks = one_hot(torch.from_numpy(hearts(2, seed=0, size=16)))
    noise = torch.randn(2, *network.noise_shape(16))
    prediction, target = network.denoising_error(masks, torch.tensor([0, network.timesteps - 1]), noise)
    assert prediction.shape == target.shape == noise.shape
    for sampler in network.samplers:
        whole = network.sample(16, [5, 6], sampler=sampler, steps=4)
        assert (whole.shape, whole.dtype) == ((2, 16, 16), torch.uint8)
        assert (network.sample(16, [6], sampler=sampler, steps=4)[0] == whole[1]).float().mean() > 0.99
        half = network.sample(16, [5], sampler=sampler, steps=4, precision="bf16")
        assert half.max() <= 3


def test_a_saved_network_says_its_kind(network, tmp_path):
    save_network(tmp_path, network.config, network.state_dict())
    kind = saved_class(tmp_path, "masks")
    assert kind is type(network)
    again = load_network(tmp_path, kind, CPU, expected=network.config)
    assert asdict(again.config) == asdict(network.config)
    assert saved_class(tmp_path, "ddpm") is DDPM


@pytest.mark.parametrize("said", [{"kind": "two_hot"}, {}, []])
def test_a_config_of_no_known_kind_is_refused(said, tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match=r"kind of mask model|expected a mapping"):
        saved_class(tmp_path, "masks")


def test_a_folder_without_a_network_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a trained network"):
        saved_class(tmp_path, "masks")


def test_weights_of_one_kind_under_the_name_of_another_are_refused(mask_network, tmp_path):
    network = mask_model(mask_network)
    save_network(tmp_path, network.config, network.state_dict())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"kind": "distances"}))
    with pytest.raises(DataError, match='\'kind\' is "distances", but the weights beside it were made with it "one_hot"'):
        load_network(tmp_path, saved_class(tmp_path, "masks"), CPU)
    assert LINEAR.timesteps == config["schedule"]["timesteps"]
