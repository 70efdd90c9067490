"""One call of `benchmarks/paper_scale.py`: what is given, where all goes, when it ends."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from cmr.files import whole_file
from models.checkpoint import load_network, restored
from models.device import pick_device
from models.train import OutOfTimeError

T = TypeVar("T")
Stage = Callable[[], dict[str, Any]]
"""Does what is left of its work and returns its facts; raises :class:`OutOfTimeError` where the time does not suffice."""

SOURCES = ("full", "real")  # of the masks that images are drawn for: drawn ones (Full-Syn), those of training slices


@dataclass(frozen=True)
class Given:
    """What a run does less than the settings say; None: nothing less.

    Attributes:
        steps: at most so many of each training. images: at most so many of each set that is drawn, or attacked.
        few_steps: images are drawn as for choosing checkpoints, in few steps, masks in ten.
    """

    steps: int | None = None
    images: int | None = None
    few_steps: bool = False


@dataclass(frozen=True)
class Slices:
    """(N, S, S) images float16 in [-1, 1] and masks, and of each its patient, kind (dataset and vendor) and volume."""

    images: NDArray[np.float16]
    masks: NDArray[np.uint8]
    patients: NDArray[np.str_]
    kinds: NDArray[np.str_]
    volumes: NDArray[np.str_]


@dataclass
class Work:
    """One call: the folder with slices and settings, where all goes, and when the call has to end (``time.monotonic``)."""

    data: Path
    out: Path
    given: Given
    deadline: float = math.inf

    @cached_property
    def settings(self) -> dict[str, Any]:
        return json.loads((self.data / "settings.json").read_text())

    @cached_property
    def device(self) -> torch.device:
        return pick_device()

    @cached_property
    def train(self) -> Slices:
        return self.slices("train")

    @property
    def seed(self) -> int:
        return self.settings["seed"]

    def slices(self, name: str) -> Slices:
        with np.load(self.data / f"{name}.npz") as file:
            return Slices(**file)

    def of(self, kind: type[T], *keys: str) -> T:
        """A block of the settings."""
        value = self.settings
        for key in keys:
            value = value[key]
        return restored(self.data / "settings.json", kind, value, ".".join(keys) + ".")

    def check_time(self, what: str) -> None:
        if time.monotonic() >= self.deadline:
            raise OutOfTimeError(what)

    def network(self, name: str, kind: Any) -> Any:
        return load_network(self.out / name, kind, self.device)

    def drawn(self, name: str) -> NDArray[Any]:
        return np.load(self.out / name / "pixels.npy")

    def masks_of(self, source: str) -> NDArray[np.uint8]:
        """The masks that images are drawn for: all that were drawn, or as many of training slices."""
        if source == "full":
            return self.drawn("sample-masks")
        return self.train.masks[np.linspace(0, len(self.train.masks) - 1, self.count).astype(int)]

    @property
    def count(self) -> int:
        return min(self.given.images or len(self.train.masks), len(self.train.masks))


def facts_of(out: Path, stage: str) -> dict[str, Any] | None:
    """What a stage that is done has found."""
    path = out / stage / "facts.json"
    return json.loads(path.read_text()) if path.exists() else None


def write_json(path: Path, content: Any) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
