"""Trained networks (safetensors and JSON) and resume states (tensors and plain values only, never code) on disk."""

import dataclasses
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cmr.errors import DataError

WEIGHTS, CONFIG = "weights.safetensors", "config.json"


def save_network(folder: Path, config: Any, weights: Mapping[str, Tensor]) -> None:
    """Writes ``weights.safetensors`` and ``config.json`` (the network's settings dataclass) into an existing folder."""
    temporary = folder / f".{WEIGHTS}.part"
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, temporary)
    os.replace(temporary, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")


def load_network(folder: Path, network_class: Any, device: torch.device) -> Any:
    """The network of a folder, in evaluation mode.

    Raises:
        DataError: when the folder holds no network, or one whose settings or weights do not fit ``network_class``.
    """
    try:
        settings = json.loads((folder / CONFIG).read_text())
        weights = load_file(folder / WEIGHTS)
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise DataError(
            f"{folder}: expected a trained network ({WEIGHTS} and {CONFIG}), found: {error}. Train it again with 'dvc repro'."
        ) from error
    network: nn.Module = network_class(_settings(folder, network_class.Config, settings))
    _check_weights(folder, network.state_dict(), weights)
    network.load_state_dict(weights)
    return network.to(device).eval()


def _settings(folder: Path, config_class: Any, settings: dict[str, Any]) -> Any:
    names = {field.name for field in dataclasses.fields(config_class)}
    if odd := sorted(names ^ settings.keys()):
        fault = "missing" if odd[0] in names else "not known to this version"
        raise DataError(f"{folder / CONFIG}: '{odd[0]}' is {fault}. Train the network again with 'dvc repro'.")
    return config_class(**{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()})


def _check_weights(folder: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for name in [*expected, *found]:
        want, have = (None if tensor is None else tuple(tensor.shape) for tensor in (expected.get(name), found.get(name)))
        if want != have:
            raise DataError(
                f"{folder / WEIGHTS}: does not fit {CONFIG}: '{name}' should be {want or 'absent'} and is {have or 'absent'}. "
                "Train the network again with 'dvc repro'."
            )


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes a resume state so that a kill at any moment leaves this one or the one before it whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    if path.exists():
        os.replace(path, path.with_suffix(".previous"))
    os.replace(temporary, path)


def load_state(path: Path) -> dict[str, Any] | None:
    """The newest whole resume state, or None. One that was cut short is passed over, and that is said."""
    for candidate in (path, path.with_suffix(".previous")):
        if not candidate.exists():
            continue
        try:
            return torch.load(candidate, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            print(f"{candidate}: cannot be read ({error.__class__.__name__}), looking for the state before it")
    return None
