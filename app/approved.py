"""Approved models, and nothing else: what samples, serves or exports gets its network here.

A network is loaded if the alias ``approved`` (``models:/syncmri-ddpm@approved``), the newest signed statement and the files
of the package agree (:mod:`mlops.approvals.current`). It is built by this program's code from weights and JSON; no code that
lies in a package is run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.approval import ApprovalWatch, NotApprovedError
from cmr.errors import DataError
from evaluation.clean_up import clean_up
from evaluation.images import check_masks
from evaluation.privacy.guard import Guard
from evaluation.validity import check_anatomy
from mlops import registry
from mlops.approvals.current import approved_now
from mlops.connection import connect, explained
from mlops.evidence import FIGURES_FILE
from mlops.gate import MASKS, Nested
from mlops.house import FILTER, unseal
from mlops.package import MODEL
from models.data import one_hot
from models.device import memory_advice
from models.diffusion import Watch
from models.packaged import load_packaged

__all__ = ["SEED_LIMIT", "ApprovalWatch", "Approved", "NotApprovedError", "load_approved", "spawned_seeds"]

SEED_LIMIT = 1 << 63  # seeds lie below it: they fit a signed 64-bit column


@dataclass(frozen=True)
class Approved:
    """One approved version of a model, loaded.

    Attributes:
        model: ``ddpm``, ``ldm``, ``fm``, ``masks``, ...
        number: of its version in the registry.
        override: why a person approved it although the gate refused; None where the gate passed it.
        marks: what must be said wherever it is used: the override, and limits other than the project's.
        size: S, rows and columns of its pictures.
        pixel_mm: their distance.
        card: its model card, in Markdown.
        figures: axis -> name -> figure, as the gate reads them (:func:`mlops.gate.figures_of`).
        licences: the licences of the data that it was trained on.
        train_on: the datasets that it was trained on.
        run_key: identifies the training.
        digest: identifies the package.
        revision: git commit of the training; empty where it is unknown.
    """

    model: str
    number: int
    override: str | None
    marks: tuple[str, ...]
    size: int
    pixel_mm: float
    card: str
    figures: Mapping[str, Mapping[str, Nested]]
    licences: tuple[str, ...]
    train_on: tuple[str, ...]
    run_key: str
    digest: str
    revision: str
    _network: Any
    _settings: Any
    _near_copy_filter: Guard

    @property
    def name(self) -> str:
        """How people call it: ``syncmri-ddpm 3``, and its marks."""
        plain = f"{registry.registered_name(self.model)} {self.number}"
        return f"{plain} ({'; '.join(self.marks)})" if self.marks else plain

    @property
    def steps(self) -> int:
        """Of the sampler, unless others are asked for: those that its figures were measured with."""
        return int(self._settings.steps)

    @property
    def most_steps(self) -> int:
        return int(self._network.timesteps)

    @property
    def batch(self) -> int:
        """Pictures that pass through the network at a time."""
        return int(self._settings.micro_batch)

    @property
    def sampler(self) -> str:
        return str(self._settings.sampler)

    def images(
        self,
        masks: NDArray[np.integer],
        seeds: Sequence[int],
        *,
        steps: int | None = None,
        guidance: float | None = None,
        watch: Watch | None = None,
    ) -> NDArray[np.float32]:
        """One image for each mask, from one seed an image: the same whatever is drawn beside it (1e-3, in float32).

        Args:
            masks: (N, S, S) labels 0-3.
            seeds: N, from 0 to 2^63 - 1.
            steps, guidance: those that the figures were measured with, unless given.
            watch: is told the states of each batch of :attr:`batch` images on their way (:data:`models.diffusion.Watch`).

        Returns:
            (N, S, S) in [-1, 1].

        Raises:
            DataError: this is the mask model, or masks, seeds or steps that it can't draw from.
        """
        if self.model == MASKS:
            raise DataError("The mask model draws masks; images are drawn by a generator, such as ddpm.")
        masks = check_masks(np.asarray(masks), "given")
        if masks.shape[1:] != (self.size, self.size):
            raise DataError(
                f"masks of {masks.shape[1]} × {masks.shape[2]} pixels; {self.name} draws images of {self.size} × {self.size}"
            )
        if len(masks) != len(seeds):
            raise DataError(f"{len(masks)} masks and {len(seeds)} seeds; expected one seed a mask")
        how: dict[str, Any] = self._how(seeds, steps) | {"watch": watch}
        how["guidance"] = self._settings.guidance if guidance is None else _finite(guidance)
        device = next(self._network.parameters()).device
        images = np.empty(masks.shape, np.float32)
        for rows in self._batches(len(masks)):
            given = one_hot(torch.from_numpy(masks[rows])).to(device)
            with memory_advice(f"{self.model}.sampling.micro_batch", self.batch):
                images[rows] = self._network.sample(given, seeds[rows], **how)[:, 0].float().cpu().numpy()
        return np.clip(images, -1, 1)

    def masks(self, seeds: Sequence[int], *, steps: int | None = None) -> NDArray[np.uint8]:
        """One label map (N, S, S) for each seed; only the mask model can.

        Where ``masks.sampling.attempts`` is above 1, an anatomically invalid one is drawn again from a seed that follows from
        its own, and with ``masks.sampling.clean_up`` each is cleaned up, as it was for its figures.

        Raises:
            DataError: this is a generator of images, or seeds or steps that it can't draw from.
        """
        if self.model != MASKS:
            raise DataError(f"{self.model} draws images for masks; masks are drawn by the model '{MASKS}'.")
        how = self._how(seeds, steps)
        masks = self._drawn(seeds, how)
        for attempt in range(1, self._settings.attempts):
            invalid = np.flatnonzero(~check_anatomy(masks)["valid"]).tolist() if len(masks) else []
            if not invalid:
                break
            masks[invalid] = self._drawn([spawned_seeds(seeds[row], 1, attempt)[0] for row in invalid], how)
        return masks

    def near_copies(self, arrays: NDArray) -> NDArray[np.bool_]:
        """(N,) whether images (N, S, S) in [-1, 1], or masks of the mask model, come nearer to a slice that the model was
        trained on than slices of patients whom it has not seen do."""
        return self._near_copy_filter.copies(arrays)

    def _drawn(self, seeds: Sequence[int], how: dict[str, Any]) -> NDArray[np.uint8]:
        masks = np.empty((len(seeds), self.size, self.size), np.uint8)
        for rows in self._batches(len(seeds)):
            with memory_advice(f"{self.model}.sampling.micro_batch", self.batch):
                masks[rows] = self._network.sample(self.size, seeds[rows], **how).cpu().numpy()
        return clean_up(masks)[0] if self._settings.clean_up else masks

    def _batches(self, count: int) -> list[slice]:
        return [slice(start, start + self.batch) for start in range(0, count, self.batch)]

    def _how(self, seeds: Sequence[int], steps: int | None) -> dict[str, Any]:
        if any(not 0 <= seed < SEED_LIMIT for seed in seeds):
            raise DataError("a seed lies outside of 0 to 2^63 - 1")
        steps = self.steps if steps is None else steps
        if not 1 <= steps <= self.most_steps:
            raise DataError(f"{steps} steps; {self.name} takes 1 to {self.most_steps}")
        return {"sampler": self.sampler, "steps": steps, "precision": self._settings.precision}


def load_approved(root: Path, model: str) -> Approved:
    """The approved version of ``model`` in the project at ``root``.

    Raises:
        NotApprovedError: there is none, or none that may be used; the message says why and what to do.
        DataError: there is no such model, or its files are not those that were registered.
        TrackingError: the registry can't be reached.
    """
    if model not in registry.MODELS:
        raise DataError(f"There is no model called '{model}'. Known: {', '.join(registry.MODELS)}.")
    with explained(root):
        tracking = connect(root)
        approval = approved_now(tracking, model)
        digest = approval.statement.package
        folder, manifest = registry.download_package(tracking, approval.version, digest)
        inhouse = registry.inhouse_part(tracking, digest, manifest)
    packaged = load_packaged(folder / MODEL / "artifacts")
    if packaged.model != model or manifest.model != model:
        raise DataError(f"{folder}: holds the network '{packaged.model}', expected '{model}'. Do not use it.")
    return Approved(
        model=model,
        number=approval.version.number,
        override=approval.statement.override,
        marks=approval.marks,
        size=manifest.size,
        pixel_mm=manifest.pixel_mm,
        card=(folder / MODEL / "card.md").read_text(encoding="utf-8"),
        figures=json.loads((folder / MODEL / FIGURES_FILE).read_text(encoding="utf-8")),
        licences=manifest.licences,
        train_on=manifest.train_on,
        run_key=manifest.run_key,
        digest=digest,
        revision=str(approval.statement.about.get("revision", "")),
        _network=packaged.network,
        _settings=packaged.settings,
        _near_copy_filter=Guard.from_bytes(unseal(inhouse / FILTER)),
    )


def spawned_seeds(seed: int, count: int, *purpose: int) -> list[int]:
    """One seed a picture: the n-th has the same seed however many are drawn. Other numbers in ``purpose``, other seeds."""
    if not 0 <= seed < SEED_LIMIT:
        raise DataError(f"the seed {seed} lies outside of 0 to 2^63 - 1")
    spawned = np.random.SeedSequence(seed, spawn_key=purpose).generate_state(count, np.uint64)
    return [int(value >> np.uint64(1)) for value in spawned]


def _finite(guidance: float) -> float:
    if not np.isfinite(guidance):
        raise DataError(f"guidance of {guidance}; expected a number, 1 for none")
    return float(guidance)
