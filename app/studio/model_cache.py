"""The approved models that the studio draws with: loaded when first used, let go of when their approval is gone."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.approved import ApprovalWatch, Approved, NotApprovedError, load_approved
from app.conditions import given_masks
from cmr.errors import DataError
from cmr.limit import FOREIGN
from mlops import registry
from mlops.approvals.current import approved_now
from mlops.connection import Tracking, TrackingError, connect, explained
from mlops.gate import MASKS

_FRESH_SECONDS = 10.0  # that an answer of the registry serves all open pages


@dataclass(frozen=True)
class Offer:
    """A model as the registry has it now.

    Attributes:
        number: of its approved version; None where there is none that may be used, for the ``reason``.
        override: why a person approved it although the gate refuses.
        size: S, rows and columns of its pictures; 0 where no version is approved.
    """

    model: str
    number: int | None
    override: str | None = None
    size: int = 0
    reason: str = ""

    @property
    def label(self) -> str:
        marked = ", by override" if self.override else ""
        return f"{self.model.upper()} · version {self.number}{marked}"


class ModelCache:
    """What may be used of the project at ``root``. May be used by several threads."""

    def __init__(self, root: Path):
        self.root = root
        self._asking, self._taking = threading.Lock(), threading.Lock()
        self._offers: list[Offer] = []
        self._answered = -_FRESH_SECONDS
        self._held: dict[str, tuple[Approved, ApprovalWatch]] = {}

    def offers(self) -> list[Offer]:
        """Every model of the registry, approved or not; at most ten seconds old.

        Raises:
            TrackingError: the registry can't be reached.
        """
        with self._asking:
            if time.monotonic() - self._answered >= _FRESH_SECONDS:
                with explained(self.root):
                    tracking = connect(self.root)
                    self._offers = [_offer(tracking, model) for model in registry.MODELS]
                self._answered = time.monotonic()
            return self._offers

    def take(self, model: str) -> Approved:
        """The approved version of a model, loaded; another one than before where another has been approved since.

        Raises:
            NotApprovedError: there is none; the message says why.
            TrackingError: whether it still is approved can't be known.
        """
        with self._taking:
            if model in self._held:
                approved, watch = self._held[model]
                try:
                    watch.check()
                    return approved
                except NotApprovedError:
                    del self._held[model]
            approved = load_approved(self.root, model)
            self._held[model] = approved, ApprovalWatch(self.root, approved)
            return approved

    def sample_mask(self, seed: int) -> NDArray[np.uint8]:
        """One mask (S, S) of the approved mask model.

        Raises:
            NotApprovedError: no mask model is approved.
            DataError: what it draws from this seed is a near-copy of a training mask.
        """
        model = self.take(MASKS)
        masks = model.masks([seed])
        if model.near_copies(masks)[0]:
            raise DataError(
                f"Withheld: the mask that {model.name} draws from the seed {seed} comes nearer to a patient's mask that it was "
                "trained on than masks of unseen patients do. Take another seed."
            )
        mask: NDArray[np.uint8] = masks[0]
        return mask

    def check(self, model: str, number: int) -> None:
        """Returns while a version, which was taken before, is the approved one.

        Raises:
            NotApprovedError: it no longer is.
            TrackingError: whether it still is can't be known.
        """
        if self.take(model).number != number:
            raise NotApprovedError(f"Version {number} of {registry.registered_name(model)} is no longer approved.")

    def read_masks(self, path: Path, name: str) -> NDArray[np.uint8]:
        """The masks with a heart (N, S, S) in a NIfTI or PNG file, on the generators' grid.

        Args:
            name: how the message of a fault calls the file.

        Raises:
            DataError: the file is no mask, or no generator is approved.
        """
        try:
            size, pixel_mm = self.grid()
            return given_masks(path, size, pixel_mm, FOREIGN)
        except DataError as error:
            raise DataError(str(error).replace(str(path), name)) from None

    def grid(self) -> tuple[int, float]:
        """S and the pixel distance in mm of the first approved generator, on whose grid masks are drawn by hand."""
        first = next(iter(approved_generators(self.offers())), None)
        if first is None:
            raise NotApprovedError("No generator is approved: there is none to draw an image with.")
        return first.size, self.take(first.model).pixel_mm


def approved_generators(offers: Iterable[Offer]) -> list[Offer]:
    """Those that draw images and may be used."""
    return [offer for offer in offers if offer.model != MASKS and offer.number is not None]


def _offer(tracking: Tracking, model: str) -> Offer:
    try:
        approval = approved_now(tracking, model)
    except TrackingError:
        raise
    except DataError as error:
        return Offer(model, None, reason=str(error))
    return Offer(model, approval.version.number, "; ".join(approval.marks) or None, int(approval.statement.about["size"]))
