"""Stage ``sample@GEN-SOURCE``: one image for each mask of a source, and one of them on its way from noise."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from cmr.files import whole_file
from cmr.labels import CLASSES
from cmr.store import SliceStore
from mlops.settings import section
from models.checkpoint import load_network
from models.config import ImageSamplingSettings
from models.data import one_hot
from models.device import memory_advice, pick_device
from models.registry import generator_class
from pipelines.sampling import image_seeds, run_key, write_speed
from pipelines.stage import run, say

_TIMES = (1000, 800, 600, 400, 200, 0)  # of the states shown, in thousandths of the way: the paper's Fig. 2


def main(generator: str, source: str) -> None:
    conditions, folder = SliceStore.open(f"data/masks/{source}"), Path("runs") / generator
    settings, device = section(f"{generator}.sampling", ImageSamplingSettings), pick_device()
    network = load_network(folder, generator_class(generator), device)
    seeds = image_seeds(section("seed", int), source, len(conditions))
    images = np.empty(conditions.masks.shape, np.float16)
    shown = _first_whole(conditions.masks)
    strip, clock = _Strip(), time.monotonic()
    for start in tqdm(range(0, len(seeds), settings.micro_batch), desc=f"sample {generator} {source}", unit="batch"):
        rows = slice(start, start + settings.micro_batch)
        masks = one_hot(torch.from_numpy(np.array(conditions.masks[rows]))).to(device)
        with memory_advice(f"{generator}.sampling.micro_batch", settings.micro_batch):
            drawn = network.sample(
                masks,
                seeds[rows],
                sampler=settings.sampler,
                steps=settings.steps,
                guidance=settings.guidance,
                precision=settings.precision,
                watch=strip.of(shown - start) if start <= shown < start + len(masks) else None,
            )
        images[rows] = drawn[:, 0].float().cpu().numpy()
    seconds = time.monotonic() - clock
    index = conditions.index.assign(
        generator=generator,
        model=run_key(folder),
        seed=seeds,
        sampler=settings.sampler,
        steps=settings.steps,
        guidance=settings.guidance,
        mask_source=source,
    )
    SliceStore.write(f"data/sets/{generator}-{source}", index, np.asarray(conditions.masks), images)
    with whole_file(Path(f"data/denoising/{generator}-{source}.npz")) as temporary, temporary.open("wb") as file:
        np.savez(file, times=np.array(_TIMES), states=strip.states(), mask=np.asarray(conditions.masks[shown]))
    write_speed(generator, source, seconds, len(images), run_key(folder))
    say(f"sample {generator}-{source}: {len(images)} images, {settings.sampler} with {settings.steps} steps, {seconds:.0f} s")


class _Strip:
    """Keeps, of one image, the state nearest to each of the times that are shown."""

    def __init__(self) -> None:
        self._best: dict[int, tuple[float, NDArray[np.float16]]] = {}

    def of(self, row: int) -> Callable[[float, Callable[[], Tensor]], None]:
        """What a sampler is to tell its states to, the shown image being ``row`` of its batch."""

        def watch(done: float, state: Callable[[], Tensor]) -> None:
            now = 1000 * (1 - done)
            nearer = [time for time in _TIMES if time not in self._best or abs(time - now) < self._best[time][0]]
            if nearer:
                picture = state()[row, 0].float().cpu().numpy().astype(np.float16)
                self._best |= {time: (abs(time - now), picture) for time in nearer}

        return watch

    def states(self) -> NDArray[np.float16]:
        """(F, S, S), one a time of ``_TIMES``; noise leaves [-1, 1]."""
        return np.stack([self._best[time][1] for time in _TIMES])


def _first_whole(masks: NDArray[np.uint8]) -> int:
    """The row of the first mask that shows all structures; the first of all where none does."""
    return next((row for row, mask in enumerate(masks) if len(np.unique(mask)) == CLASSES), 0)


if __name__ == "__main__":
    run(main)
