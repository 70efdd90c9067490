"""Networks and resume states on disk."""

import json
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cmr.errors import DataError
from models.checkpoint import load_network, load_state, save_network, save_state
from models.ddpm import DDPM

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Inner:
    rate: float
    codes: tuple[int, ...] = (2, 3)


@dataclass(frozen=True)
class Settings:
    width: int
    flags: tuple[bool, ...]
    inner: Inner
    table: tuple[Inner, ...] = ()
    other: Inner | None = None


class Network(nn.Module):
    Config: ClassVar[Any] = Settings

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.width, 2)


SETTINGS = Settings(4, (True, False), Inner(0.1), (Inner(1e-5, ()),), Inner(1.0, (7,)))


@pytest.fixture
def folder(tmp_path):
    save_network(tmp_path, SETTINGS, Network(SETTINGS).state_dict())
    return tmp_path


def _edit(folder, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_network_comes_back_as_it_was(folder):
    network = Network(SETTINGS)
    save_network(folder, SETTINGS, network.state_dict())
    loaded = load_network(folder, Network, CPU)
    assert torch.equal(loaded.layer.weight, network.layer.weight)
    assert not loaded.training


@pytest.mark.parametrize("settings", [SETTINGS, Settings(1, (), Inner(1e-3))])
def test_nested_settings_come_back_as_the_same_object(tmp_path, settings):
    save_network(tmp_path, settings, Network(settings).state_dict())
    assert load_network(tmp_path, Network, CPU).config == settings


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"width": 5}, r"config.json: 'width' is 5, but the weights beside it were made with it 4\. Put the file back"),
        ({"flags": [True]}, r"'flags' is \[true\], but .* \[true, false\]"),
        ({"inner": {"rate": 0.2, "codes": [2]}}, r"'inner.rate' is 0.2, but .* 0.1\."),
        ({"inner": {"codes": [2, 3]}}, r"'inner.rate' is absent, but .* 0.1\."),
        ({"other": None}, r"'other' is null, but .* \{\"rate\": 1.0"),
        ({"colour": 1}, r"'colour' is 1, but .* absent\."),
    ],
)
def test_settings_that_the_weights_were_not_made_with_are_refused_by_name(folder, changes, expected):
    _edit(folder, **changes)
    with pytest.raises(DataError, match=expected):
        load_network(folder, Network, CPU)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (replace(SETTINGS, width=5), r"made with 'width' 4, expected is 5\. Set it so in params.yaml, or train"),
        (replace(SETTINGS, flags=(), inner=Inner(2.0)), r"'flags' \[true, false\], expected is \[\]"),
        (replace(SETTINGS, inner=Inner(0.1, (2, 4))), r"'inner.codes' \[2, 3\], expected is \[2, 4\]"),
        (replace(SETTINGS, other=None), r"'other' .*, expected is null"),
    ],
)
def test_a_network_of_other_settings_than_expected_is_refused_by_name(folder, wanted, expected):
    assert load_network(folder, Network, CPU, expected=SETTINGS).config == SETTINGS
    with pytest.raises(DataError, match=expected):
        load_network(folder, Network, CPU, expected=wanted)


@dataclass(frozen=True)
class NewInner:
    rate: float
    colour: str


@dataclass(frozen=True)
class NewSettings:
    width: int
    inner: NewInner


class NewNetwork(Network):
    Config = NewSettings


@dataclass(frozen=True)
class OldInner:
    rate: float
    colour: str
    shade: int


def test_settings_of_another_version_are_refused_by_dotted_path(folder):
    weights = Network(SETTINGS).state_dict()
    new = NewSettings(4, NewInner(0.1, "red"))
    with pytest.raises(DataError, match=r"config.json: 'flags' is not known to this version\. Train"):
        load_network(folder, NewNetwork, CPU)
    save_network(folder, replace(new, inner=OldInner(0.1, "red", 1)), weights)
    with pytest.raises(DataError, match=r"'inner.shade' is not known to this version"):
        load_network(folder, NewNetwork, CPU)
    save_network(folder, replace(new, inner=Inner(0.1)), weights)
    with pytest.raises(DataError, match=r"'inner.colour' is missing"):
        load_network(folder, NewNetwork, CPU)
    save_network(folder, replace(new, inner=3), weights)
    with pytest.raises(DataError, match=r"'inner' should be a mapping, found 3"):
        load_network(folder, NewNetwork, CPU)


def test_weights_without_settings_are_refused(folder):
    save_file(Network(SETTINGS).state_dict(), folder / "weights.safetensors")
    with pytest.raises(DataError, match="header does not say with which settings"):
        load_network(folder, Network, CPU)


def test_weights_that_do_not_fit_this_version_are_refused_by_name(folder):
    save_network(folder, SETTINGS, {"layer.weight": torch.zeros(2, 3), "layer.bias": torch.zeros(2)})
    with pytest.raises(DataError, match=r"weights.safetensors.*'layer.weight' should be \(2, 4\) and is \(2, 3\)"):
        load_network(folder, Network, CPU)
    save_network(folder, SETTINGS, Network(SETTINGS).state_dict() | {"more": torch.zeros(())})
    with pytest.raises(DataError, match=r"'more' should be absent and is \(\)"):
        load_network(folder, Network, CPU)


def test_a_cut_or_missing_file_is_an_error_for_people(folder):
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(DataError, match="expected a trained network"):
        load_network(folder, Network, CPU)
    weights.unlink()
    with pytest.raises(DataError, match="expected a trained network"):
        load_network(folder, Network, CPU)


def test_a_real_network_comes_back(tmp_path, ddpm_network):
    from models.ddpm import DDPM

    network = DDPM(ddpm_network).eval()
    save_network(tmp_path, ddpm_network, network.state_dict())
    loaded = load_network(tmp_path, DDPM, CPU, expected=ddpm_network)
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    # Drawn and not constant: groups of equal pixels have almost no variance, and their norm makes much of rounding.
    images, masks, noise = (torch.randn(1, channels, 16, 16) for channels in (1, 4, 1))
    with torch.no_grad():
        pair = [net.denoising_error(images, masks, torch.tensor([10]), noise)[0] for net in (network, loaded)]
    assert torch.allclose(*pair, atol=1e-5)  # weights of a loaded network lie in another order, and sums with them
    assert loaded.config == ddpm_network


def test_a_state_cut_short_gives_the_one_before_it(tmp_path, capsys):
    path = tmp_path / "state.pt"
    assert load_state(path) is None
    for step in (1, 2):
        save_state(path, {"step": step, "tensor": torch.full((1000,), float(step))})
    assert load_state(path)["step"] == 2
    path.write_bytes(path.read_bytes()[:-700])
    assert load_state(path)["step"] == 1
    assert "cannot be read" in capsys.readouterr().out


def test_the_same_network_gives_the_same_bytes(tmp_path, ddpm_network):
    """What DVC and a resumed training are compared by."""
    weights, contents = DDPM(ddpm_network).state_dict(), set()
    for _ in range(8):
        save_network(tmp_path, ddpm_network, weights)
        contents.add((tmp_path / "weights.safetensors").read_bytes())
    assert len(contents) == 1
