"""Trained networks (safetensors and JSON) and resume states (tensors and plain values only, never code) on disk."""

import dataclasses
import json
import os
import pickle
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cmr.errors import DataError

WEIGHTS, CONFIG = "weights.safetensors", "config.json"
AGAIN = "Train the network again with 'dvc repro'."
_ABSENT = object()


def save_network(folder: Path, config: Any, weights: Mapping[str, Tensor]) -> None:
    """Writes ``weights.safetensors`` and ``config.json`` into an existing folder.

    Args:
        config: the network's settings, a dataclass of plain values, tuples and further dataclasses. It goes into the header of
            the weights too, so that neither file can be changed without the other.
        weights: the network's state dict.
    """
    settings = json.dumps(dataclasses.asdict(config), indent=2)
    temporary = folder / f".{WEIGHTS}.part"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    # One entry only: several would be written in an order of chance, and the same network must give the same bytes.
    save_file(tensors, temporary, metadata={"config": settings})
    os.replace(temporary, folder / WEIGHTS)
    (folder / CONFIG).write_text(settings + "\n")


def load_network(folder: Path, network_class: Any, device: torch.device, expected: Any = None) -> Any:
    """The network of a folder, in evaluation mode.

    Args:
        network_class: takes its settings dataclass, ``network_class.Config``, as the only argument.
        expected: an instance of that dataclass which the network must have been made with.

    Raises:
        DataError: when the folder holds no network, one whose settings are not those that its weights were made with or not
            those expected (the first differing field is named by its dotted path), or one that ``network_class`` has no place
            for.
    """
    settings = read_config(folder)
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            made_with = json.loads((file.metadata() or {}).get("config", "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, the file is no mapping
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise _no_network(folder, error) from error
    if not isinstance(made_with, dict):
        raise DataError(f"{folder / WEIGHTS}: its header does not say with which settings it was made. {AGAIN}")
    if odd := next(_differences(settings, made_with), None):
        name, found, made = odd
        raise DataError(
            f"{folder / CONFIG}: '{name}' is {found}, but the weights beside it were made with it {made}. "
            f"Put the file back as it was, or train the network again with 'dvc repro'."
        )
    config = restored(folder / CONFIG, network_class.Config, settings)
    if expected is not None and (odd := next(_differences(settings, _as_json(expected)), None)):
        name, found, wanted = odd
        raise DataError(
            f"{folder}: this network was made with '{name}' {found}, expected is {wanted}. "
            "Set it so in params.yaml, or train the network again with 'dvc repro'."
        )
    network: Any = network_class(config)
    _check_weights(folder, network.state_dict(), weights)
    network.load_state_dict(weights)
    # Without a backward pass generators are faster so, in bfloat16 up to twice; see docs/performance.md.
    return network.to(device=device, memory_format=torch.channels_last).eval()


def read_config(folder: Path) -> dict[str, Any]:
    """The settings of a folder's network, as :func:`save_network` wrote them; :class:`DataError` where there are none."""
    try:
        settings = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise _no_network(folder, error) from error
    if not isinstance(settings, dict):
        raise DataError(f"{folder / CONFIG}: expected a mapping of settings, found {type(settings).__name__}. {AGAIN}")
    return settings


def _no_network(folder: Path, error: Exception) -> DataError:
    return DataError(f"{folder}: expected a trained network ({WEIGHTS} and {CONFIG}), found: {error}. {AGAIN}")


def _as_json(config: Any) -> Any:
    """A dataclass as JSON gives it back: mappings, lists and plain values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _differences(left: Any, right: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Dotted path and both values, as text, of each field in which two settings differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        for name in dict.fromkeys([*left, *right]):
            yield from _differences(left.get(name, _ABSENT), right.get(name, _ABSENT), f"{path}.{name}" if path else name)
    elif left != right:
        yield path, _as_text(left), _as_text(right)


def _as_text(value: Any) -> str:
    return "absent" if value is _ABSENT else json.dumps(value)


def restored(source: Path, kind: Any, value: Any, path: str = "") -> Any:
    """What JSON made of a settings dataclass, as that dataclass again: nested ones and tuples included.

    Args:
        source: named in faults; kind: the dataclass; value: what was read; path: where in the file it lies.

    Raises:
        DataError: a field is missing or not known.
    """
    if get_origin(kind) in (Union, types.UnionType):
        if value is None:
            return None
        kind = next(option for option in get_args(kind) if option is not type(None))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise DataError(f"{source}: '{path.rstrip('.')}' should be a mapping, found {json.dumps(value)}. {AGAIN}")
        kinds = get_type_hints(kind)
        names = [field.name for field in dataclasses.fields(kind)]
        for name in dict.fromkeys([*names, *value]):
            if (name in names) != (name in value):
                fault = "missing" if name in names else "not known to this version"
                raise DataError(f"{source}: '{path}{name}' is {fault}. {AGAIN}")
        return kind(**{name: restored(source, kinds[name], value[name], f"{path}{name}.") for name in names})
    if isinstance(value, list):
        inner = next(iter(get_args(kind)), Any)
        return tuple(restored(source, inner, below, path) for below in value)
    return value


def _check_weights(folder: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for name in dict.fromkeys([*expected, *found]):
        want, have = (None if tensor is None else tuple(tensor.shape) for tensor in (expected.get(name), found.get(name)))
        if want != have:
            raise DataError(
                f"{folder / WEIGHTS}: does not fit this version: '{name}' should be {_shape(want)} and is {_shape(have)}. "
                + AGAIN
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(shape)


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
