"""Drawing images and masks from trained networks, a few at a time: each is a task that any process of the project can do."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmr.store import SliceStore
from models.checkpoint import load_network
from models.config import ImageSamplingSettings, MaskSamplingSettings
from models.data import one_hot
from models.device import memory_advice, pick_device
from models.registry import MASKS, saved_class
from pipelines.sampling import run_key

TIMES = (1000, 800, 600, 400, 200, 0)  # of the states shown, in thousandths of the way: the paper's Fig. 2


@dataclass(frozen=True)
class Images:
    """Some images to draw.

    Attributes:
        start: row of the first one's mask in ``data/masks/SOURCE``; the others' follow.
        seeds: one an image.
        shown: which of them is kept on its way from noise; None: none.
    """

    generator: str
    source: str
    start: int
    seeds: Sequence[int]
    settings: ImageSamplingSettings
    shown: int | None = None


@dataclass(frozen=True)
class Masks:
    """Some masks to draw, one a seed, of ``size`` x ``size`` pixels."""

    size: int
    seeds: Sequence[int]
    settings: MaskSamplingSettings


@dataclass(frozen=True)
class Drawn:
    """(B, S, S) images float16 in [-1, 1], or masks uint8; the seconds it took; the states (F, S, S) of the image shown."""

    pixels: NDArray[Any]
    seconds: float
    states: NDArray[np.float16] | None = None


def image_tasks(generator: str, source: str, seeds: Sequence[int], settings: ImageSamplingSettings, shown: int) -> list[Images]:
    """All images of a source in shares of ``micro_batch``; of image number ``shown`` the way is kept."""
    size = settings.micro_batch
    return [
        Images(
            generator,
            source,
            start,
            seeds[start : start + size],
            settings,
            shown - start if start <= shown < start + size else None,
        )
        for start in range(0, len(seeds), size)
    ]


def draw_images(task: Images) -> Drawn:
    """Draws them with the network in ``runs/GENERATOR``.

    Raises:
        DataError: the memory does not suffice; names the parameter to lower. Or network or masks can't be read.
    """
    settings, network = task.settings, trained(Path("runs") / task.generator, task.generator)
    labels = SliceStore.open(f"data/masks/{task.source}").masks[task.start : task.start + len(task.seeds)]
    strip, clock = Strip(), time.monotonic()
    with memory_advice(f"{task.generator}.sampling.micro_batch", settings.micro_batch):
        drawn = network.sample(
            one_hot(torch.from_numpy(np.array(labels))).to(pick_device()),
            task.seeds,
            sampler=settings.sampler,
            steps=settings.steps,
            guidance=settings.guidance,
            precision=settings.precision,
            watch=None if task.shown is None else strip.of(task.shown),
        )
    pixels = drawn[:, 0].float().cpu().numpy().astype(np.float16)
    return Drawn(pixels, time.monotonic() - clock, None if task.shown is None else strip.states())


def mask_tasks(size: int, seeds: Sequence[int], settings: MaskSamplingSettings) -> list[Masks]:
    """As :func:`image_tasks`."""
    count = settings.micro_batch
    return [Masks(size, seeds[start : start + count], settings) for start in range(0, len(seeds), count)]


def draw_masks(task: Masks) -> Drawn:
    """As :func:`draw_images`, with the mask model in ``runs/masks``."""
    settings, network = task.settings, trained(Path("runs/masks"), MASKS)
    how: dict[str, Any] = {"sampler": settings.sampler, "steps": settings.steps, "precision": settings.precision}
    clock = time.monotonic()
    with memory_advice("masks.sampling.micro_batch", settings.micro_batch):
        pixels = network.sample(task.size, task.seeds, **how).cpu().numpy()
    return Drawn(pixels, time.monotonic() - clock)


def trained(folder: Path, name: str) -> Any:
    """The trained network in ``folder``, of generator ``name`` or of ``masks``; a process reads it once for all its tasks."""
    folder = folder.absolute()
    return _loaded(folder, run_key(folder), name)


@lru_cache(maxsize=2)  # a generator and its control
def _loaded(folder: Path, key: str, name: str) -> Any:
    return load_network(folder, saved_class(folder, name), pick_device())


class Strip:
    """Keeps, of one image, the state nearest to each of the times that are shown."""

    def __init__(self) -> None:
        self._best: dict[int, tuple[float, NDArray[np.float16]]] = {}

    def of(self, row: int) -> Callable[[float, Callable[[], Tensor]], None]:
        """What a sampler is to tell its states to, the shown image being ``row`` of its batch."""

        def watch(done: float, state: Callable[[], Tensor]) -> None:
            now = 1000 * (1 - done)
            nearer = [time for time in TIMES if time not in self._best or abs(time - now) < self._best[time][0]]
            if nearer:
                picture = state()[row, 0].float().cpu().numpy().astype(np.float16)
                self._best |= {time: (abs(time - now), picture) for time in nearer}

        return watch

    def states(self) -> NDArray[np.float16]:
        """(F, S, S), one a time of :data:`TIMES`; noise leaves [-1, 1]."""
        return np.stack([self._best[time][1] for time in TIMES])
