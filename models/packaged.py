"""A packaged network on disk: weights, settings, and how it draws. They are read as data; no file of a package is run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmr.errors import DataError
from models.checkpoint import load_network, restored
from models.config import ImageSamplingSettings, MaskSamplingSettings, SamplingSettings
from models.device import pick_device
from models.registry import MASKS, saved_class

DRAWING = "drawing.json"


@dataclass(frozen=True)
class PackagedNetwork:
    """A trained network and how its figures were measured.

    Attributes:
        model: ``masks``, or the name of a generator.
        size: S, rows and columns of a picture.
        network: in evaluation mode, on the GPU if there is one.
        settings: how it draws; :class:`models.config.MaskSamplingSettings` for the mask model.
    """

    model: str
    size: int
    network: Any
    settings: SamplingSettings


def load_packaged(folder: Path) -> PackagedNetwork:
    """Build the network whose ``weights.safetensors``, ``config.json`` and ``drawing.json`` lie in ``folder``.

    Raises:
        DataError: a file is missing or broken, or the three do not belong together.
    """
    path = folder / DRAWING
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        model, size = str(about["model"]), int(about["size"])
        settings_class: Any = MaskSamplingSettings if model == MASKS else ImageSamplingSettings
        settings = restored(path, settings_class, about["sampling"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: does not say how the network draws ({error!r}); package the model again.") from error
    return PackagedNetwork(model, size, load_network(folder, saved_class(folder, model), pick_device()), settings)
