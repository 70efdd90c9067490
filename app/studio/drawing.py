"""One image drawn, watched on its way from noise, and compared with what its generator was trained on."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.approved import Approved
from app.conditions import on_grid

FRAMES = 8
"""States that are kept of the way from noise to image, at most."""


@dataclass(frozen=True)
class Drawn:
    """What a generator made of a mask.

    Attributes:
        mask: (S, S) as the generator was given it.
        image: (S, S) in [-1, 1]; None where it is withheld as a near-copy of a training slice.
        frames: states on the way, noise first, each (how far from 0 to 1, (S, S)); none where the image is withheld.
    """

    approved: Approved
    mask: NDArray[np.uint8]
    image: NDArray[np.float32] | None
    frames: tuple[tuple[float, NDArray[np.float32]], ...]
    seed: int
    steps: int
    seconds: float


def draw(
    approved: Approved, mask: NDArray[np.uint8], seed: int, steps: int | None, on_progress: Callable[[float], None]
) -> Drawn:
    """Draw one image for one mask.

    Args:
        mask: (H, H), as wide as the generator's field of view; brought onto its grid where its pixels are others.
        steps: None for those that the model's figures were measured with.
        on_progress: called at each step with how far the image is, 0 to 1; what it raises ends the drawing.

    Raises:
        DataError: a mask, a seed or steps that the model can't draw from.
    """
    frames: list[tuple[float, NDArray[np.float32]]] = []

    def watch(done: float, state: Callable) -> None:
        on_progress(done)
        if done >= len(frames) / (FRAMES - 1):
            frames.append((done, state()[0, 0].float().clamp(-1, 1).cpu().numpy()))

    pixel_mm = approved.pixel_mm * approved.size / len(mask)
    given = on_grid(mask[None], (pixel_mm, pixel_mm), approved.size, approved.pixel_mm)
    start = time.perf_counter()
    images = approved.images(given, [seed], steps=steps, watch=watch)
    seconds = time.perf_counter() - start
    withheld = bool(approved.near_copies(images)[0])
    return Drawn(
        approved,
        given[0],
        None if withheld else images[0],
        () if withheld else tuple(frames),
        seed,
        approved.steps if steps is None else steps,
        seconds,
    )
