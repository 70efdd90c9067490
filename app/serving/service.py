"""One approved model behind the API: draws while the version is approved; gives out no near-copy, and notes what it gives."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from app.approved import ApprovalWatch, NotApprovedError, load_approved, spawned_seeds
from app.serving.queue import AbandonedError
from app.serving.schemas import (
    Drawn,
    Format,
    Images,
    ImagesRequest,
    Masks,
    MasksRequest,
    ModelState,
    RefusedError,
    encode,
    read_masks,
)
from cmr.errors import DataError
from mlops.connection import TrackingError
from mlops.exports import note_export
from mlops.gate import MASKS
from mlops.registry import registered_name

Batch = Callable[[threading.Event], NDArray]


class UnnotedError(Exception):
    """The lineage could not be written, so that nothing may be given out."""


@dataclass(frozen=True)
class Limits:
    """What requests may take.

    Attributes:
        pictures: a request.
        in_flight: requests that are drawn or wait.
        work: pictures × steps a request; None: so many that the usual steps, with which the figures were measured, are enough
            for ``pictures``, and all steps of the sampler for one.
        recheck_seconds: between two questions to the registry whether the version still is approved.
    """

    pictures: int = 32
    in_flight: int = 8
    work: int | None = None
    recheck_seconds: float = 20.0


class ModelService:
    """One approved model, and what its answers have in common.

    Raises:
        NotApprovedError: it has no approved version.
        TrackingError: the registry can't be reached.
    """

    def __init__(self, root: Path, model: str, limits: Limits):
        self.approved = load_approved(root, model)
        self.limits = limits
        self.root = root
        self._watch = ApprovalWatch(root, self.approved, every=limits.recheck_seconds)
        blank = np.zeros((1, self.approved.size, self.approved.size), np.uint8 if model == MASKS else np.float32)
        self.approved.near_copies(blank)  # what the guard needs is read now: where it is missing, nothing starts

    @property
    def most_work(self) -> int:
        """Pictures × steps a request."""
        return self.limits.work or max(self.limits.pictures * self.approved.steps, self.approved.most_steps)

    def read_masks(self, asked: ImagesRequest) -> NDArray[np.uint8]:
        """The masks of a request, checked; see :func:`app.serving.schemas.read_masks`."""
        self._check_steps(asked.steps)
        masks = read_masks(asked.masks, self.approved.size, self.limits.pictures)
        self._check_work(len(masks), asked.steps)
        return masks

    def check_count(self, asked: MasksRequest) -> None:
        """Raises RefusedError for more masks or steps than there may be."""
        self._check_steps(asked.steps)
        if asked.count > self.limits.pictures:
            raise RefusedError(f"count: {asked.count}; expected 1 to {self.limits.pictures} a request")
        self._check_work(asked.count, asked.steps)

    def image_batches(self, asked: ImagesRequest, masks: NDArray[np.uint8]) -> list[Batch]:
        """Calls that draw an image for each mask, in as many batches as pass through the network.

        They raise what :meth:`app.approved.Approved.images` and :meth:`app.approved.ApprovalWatch.check` raise.
        """

        def draw(rows: slice, seeds: Sequence[int], stop: threading.Event) -> NDArray:
            how: dict[str, Any] = {"steps": asked.steps, "guidance": asked.guidance}
            return self.approved.images(masks[rows], seeds, **how, watch=self._watching(stop))

        return self._batches(draw, len(masks), asked.seed)

    def mask_batches(self, asked: MasksRequest) -> list[Batch]:
        """Calls that draw the masks, as :meth:`image_batches`."""

        def draw(rows: slice, seeds: Sequence[int], stop: threading.Event) -> NDArray:
            return self.approved.masks(seeds, steps=asked.steps)

        return self._batches(draw, asked.count, asked.seed)

    def images_answer(self, asked: ImagesRequest, batches: Sequence[NDArray], who: str) -> bytes:
        """The answer as JSON, of which the lineage knows by then.

        Raises:
            UnnotedError: it does not.
            NotApprovedError, TrackingError: as :meth:`app.approved.ApprovalWatch.check`.
        """
        images, fields = self._answer(batches, asked.seed, asked.steps, asked.format, who)
        return Images(**fields, images=encode(images, asked.format)).model_dump_json().encode()

    def masks_answer(self, asked: MasksRequest, batches: Sequence[NDArray], who: str) -> bytes:
        """As :meth:`images_answer`, for masks."""
        masks, fields = self._answer(batches, asked.seed, asked.steps, asked.format, who)
        return Masks(**fields, masks=encode(masks, asked.format)).model_dump_json().encode()

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
            marks=list(approved.marks),
            licences=list(approved.licences),
            size=size,
            pixel_mm=approved.pixel_mm,
            input="a number of masks" if of_masks else f"masks: labels (N, {size}, {size}) or one-hot (N, 4, {size}, {size})",
            output=f"masks (N, {size}, {size})" if of_masks else f"images (N, {size}, {size}) in [-1, 1]",
            sampler=approved.sampler,
            steps=approved.steps,
            most_steps=approved.most_steps,
            most_pictures=self.limits.pictures,
            most_work=self.most_work,
        )

    def _batches(self, draw: Callable[[slice, Sequence[int], threading.Event], NDArray], count: int, seed: int) -> list[Batch]:
        seeds, size = spawned_seeds(seed, count), self.approved.batch

        def batch(rows: slice) -> Batch:
            def call(stop: threading.Event) -> NDArray:
                self._watch.check()
                return draw(rows, seeds[rows], stop)

            return call

        return [batch(slice(start, start + size)) for start in range(0, count, size)]

    def _answer(
        self, batches: Sequence[NDArray], seed: int, steps: int | None, form: Format, who: str
    ) -> tuple[NDArray, dict[str, Any]]:
        """The pictures that may be given out, and the fields of :class:`Drawn`."""
        pictures = np.concatenate(batches)
        if not np.isfinite(pictures).all():
            raise RefusedError(f"{self.approved.name} drew values that are not finite; ask for less guidance, or more steps")
        copies = self.approved.near_copies(pictures)
        rows = np.flatnonzero(~copies)
        seeds = spawned_seeds(seed, len(pictures))
        said = Drawn(
            model=registered_name(self.approved.model),
            version=self.approved.number,
            approved_by_override=self.approved.override,
            marks=list(self.approved.marks),
            licences=list(self.approved.licences),
            sampler=self.approved.sampler,
            steps=self.approved.steps if steps is None else steps,
            seed=seed,
            seeds=[seeds[row] for row in rows],
            rows=rows.tolist(),
            withheld=np.flatnonzero(copies).tolist(),
        )
        self._watch.check()
        if len(rows):
            self._note({"what": "REST answer", "count": len(rows), "format": form, "out": who})
        return pictures[rows], said.model_dump()

    def _note(self, about: dict[str, Any]) -> None:
        try:
            note_export(self.root, [(self.approved.model, self.approved.number)], about)
        except (TrackingError, DataError, OSError) as error:
            raise UnnotedError(str(error)) from error

    def _watching(self, stop: threading.Event) -> Callable[[float, Callable[[], Tensor]], None]:
        def step(share: float, state: Callable[[], Tensor]) -> None:
            if stop.is_set():
                raise AbandonedError
            self._watch.check()

        return step

    def _check_steps(self, steps: int | None) -> None:
        if steps is not None and steps > self.approved.most_steps:
            raise RefusedError(f"steps: {steps}; {self.approved.name} takes 1 to {self.approved.most_steps}")

    def _check_work(self, count: int, steps: int | None) -> None:
        steps = self.approved.steps if steps is None else steps
        if count * steps > self.most_work:
            raise RefusedError(
                f"steps: {count} pictures of {steps} steps are {count * steps} steps; expected at most {self.most_work} in a "
                f"request: {self.most_work // steps} pictures of {steps} steps, or {count} of {max(1, self.most_work // count)}"
            )
