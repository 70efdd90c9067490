"""Draws for requests: one at a time, only while the version is approved, and never a near-copy."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from fastapi import HTTPException, Request
from numpy.typing import NDArray
from torch import Tensor

from app.approved import ApprovalWatch, NotApprovedError, load_approved, spawned_seeds
from app.serving.bodies import Drawn, Images, ImagesRequest, Masks, MasksRequest, ModelState, encode, read_masks
from cmr.errors import DataError
from mlops.connection import TrackingError
from mlops.gate import MASKS
from mlops.registry import registered_name

T = TypeVar("T")
CLIENT_GONE = 499  # what nginx writes for it; nobody is left to read it
_ASK_SECONDS = 0.5


class AbandonedError(Exception):
    """Nobody waits for the drawing any more."""


@dataclass(frozen=True)
class Limits:
    """``pictures`` a request, requests ``in_flight`` (the one that is drawn, and those that wait), and the time between two
    questions to the registry whether the version still is approved."""

    pictures: int = 32
    in_flight: int = 8
    recheck_seconds: float = 20.0


class Turns:
    """One drawing at a time, whatever the model, in the order of arrival. A request whose client has gone is dropped."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def take(self, request: Request, draw: Callable[[threading.Event], T]) -> T:
        """``draw(stop)``, in a thread; it is to end with :class:`AbandonedError` soon after ``stop`` is set."""
        async with self._turn:
            if await request.is_disconnected():
                raise HTTPException(CLIENT_GONE, "the client has gone")
            stop = threading.Event()
            drawing = asyncio.create_task(asyncio.to_thread(draw, stop))
            try:
                while not (await asyncio.wait({drawing}, timeout=_ASK_SECONDS))[0]:
                    if await request.is_disconnected():
                        raise HTTPException(CLIENT_GONE, "the client has gone")
                return drawing.result()
            finally:
                stop.set()
                await asyncio.gather(drawing, return_exceptions=True)


class Desk:
    """One approved model, and what its answers have in common.

    Raises:
        NotApprovedError: it has no approved version.
        TrackingError: the registry can't be reached.
    """

    def __init__(self, root: Path, model: str, limits: Limits):
        self.approved = load_approved(root, model)
        self.limits = limits
        self._watch = ApprovalWatch(root, self.approved, every=limits.recheck_seconds)
        blank = np.zeros((1, self.approved.size, self.approved.size), np.uint8 if model == MASKS else np.float32)
        self.approved.near_copies(blank)  # what the guard needs is read now: where it is missing, nothing starts

    def images(self, asked: ImagesRequest, masks: NDArray[np.uint8], stop: threading.Event) -> bytes:
        """The answer as JSON. Raises what :meth:`Approved.images` and :meth:`ApprovalWatch.check` raise."""

        def draw(seeds: Sequence[int]) -> NDArray[np.float32]:
            watch = self._watching(stop)
            return self.approved.images(masks, seeds, steps=asked.steps, guidance=asked.guidance, watch=watch)

        images, drawn = self._drawn(draw, len(masks), asked.seed, asked.steps)
        return Images(**drawn, images=encode(images, asked.format)).model_dump_json().encode()

    def masks(self, asked: MasksRequest, stop: threading.Event) -> bytes:
        """The answer as JSON. Raises what :meth:`Approved.masks` and :meth:`ApprovalWatch.check` raise."""

        def draw(seeds: Sequence[int]) -> NDArray[np.uint8]:
            return self.approved.masks(seeds, steps=asked.steps)

        masks, drawn = self._drawn(draw, asked.count, asked.seed, asked.steps)
        return Masks(**drawn, masks=encode(masks, asked.format)).model_dump_json().encode()

    def read_masks(self, asked: ImagesRequest) -> NDArray[np.uint8]:
        """Of a request, checked; see :func:`app.serving.bodies.read_masks`."""
        self._check_steps(asked.steps)
        return read_masks(asked.masks, self.approved.size, self.limits.pictures)

    def check_count(self, asked: MasksRequest) -> None:
        """Raises DataError for more masks or steps than there may be."""
        self._check_steps(asked.steps)
        if asked.count > self.limits.pictures:
            raise DataError(f"count: {asked.count}; expected 1 to {self.limits.pictures} a request")

    def still_approved(self) -> str | None:
        """None, or why the model is not served now."""
        try:
            self._watch.check()
        except (NotApprovedError, TrackingError) as error:
            return str(error)
        return None

    def state(self) -> ModelState:
        approved, size = self.approved, self.approved.size
        reason = self.still_approved()
        of_masks = approved.model == MASKS
        return ModelState(
            model=approved.model,
            registered_as=registered_name(approved.model),
            version=approved.number,
            approved=reason is None,
            reason=reason,
            approved_by_override=approved.override,
            licences=list(approved.licences),
            size=size,
            pixel_mm=approved.pixel_mm,
            input="a number of masks" if of_masks else f"masks: labels (N, {size}, {size}) or one-hot (N, 4, {size}, {size})",
            output=f"masks (N, {size}, {size})" if of_masks else f"images (N, {size}, {size}) in [-1, 1]",
            sampler=approved.sampler,
            steps=approved.steps,
            most_steps=approved.most_steps,
            most_pictures=self.limits.pictures,
        )

    def _drawn(
        self, draw: Callable[[Sequence[int]], NDArray], count: int, seed: int, steps: int | None
    ) -> tuple[NDArray, dict[str, Any]]:
        """The pictures that may be given out, and the fields of :class:`Drawn`."""
        self._watch.check()
        seeds = spawned_seeds(seed, count)
        pictures = draw(seeds)
        if not np.isfinite(pictures).all():
            raise DataError(f"{self.approved.name} drew values that are not finite; ask for less guidance, or more steps")
        copies = self.approved.near_copies(pictures)
        self._watch.check()
        rows = np.flatnonzero(~copies)
        said = Drawn(
            model=registered_name(self.approved.model),
            version=self.approved.number,
            approved_by_override=self.approved.override,
            licences=list(self.approved.licences),
            sampler=self.approved.sampler,
            steps=self.approved.steps if steps is None else steps,
            seed=seed,
            seeds=[seeds[row] for row in rows],
            rows=rows.tolist(),
            withheld=np.flatnonzero(copies).tolist(),
        )
        return pictures[rows], said.model_dump()

    def _watching(self, stop: threading.Event) -> Callable[[float, Callable[[], Tensor]], None]:
        def step(share: float, state: Callable[[], Tensor]) -> None:
            if stop.is_set():
                raise AbandonedError
            self._watch.check()

        return step

    def _check_steps(self, steps: int | None) -> None:
        if steps is not None and steps > self.approved.most_steps:
            raise DataError(f"steps: {steps}; {self.approved.name} takes 1 to {self.approved.most_steps}")
