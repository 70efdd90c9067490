"""What membership attacks read of trained networks, a few slices at a time: each is a task that any process can do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmr.store import SliceStore, concatenate
from evaluation.privacy.membership import Signals
from evaluation.privacy.membership.settings import MembershipSettings
from evaluation.privacy.membership.signals import read_signals
from models.registry import MASKS
from pipelines.drawing import trained


@dataclass(frozen=True)
class Rows:
    """Rows of slice stores, by the stores' paths: small, so that a task opens the stores itself."""

    parts: Sequence[tuple[str, NDArray[np.integer]]]

    def store(self) -> SliceStore:
        return concatenate([SliceStore.open(path).select(rows) for path, rows in self.parts])

    def few(self, count: int) -> list["Rows"]:
        """The same rows in the same order, at most ``count`` of one store at a time."""
        starts = [(path, rows, start) for path, rows in self.parts for start in range(0, len(rows), count)]
        return [Rows([(path, rows[start : start + count])]) for path, rows, start in starts]


@dataclass(frozen=True)
class Attacked:
    """Slices to attack the network in ``folder`` with: of the class of generator ``name``, or of ``masks``."""

    name: str
    folder: Path
    rows: Rows
    settings: MembershipSettings
    seed: int


def read_some(task: Attacked) -> Signals:
    """The signals of those slices, in their order."""
    of_masks = task.name == MASKS
    store = task.rows.store()
    return read_signals(
        trained(task.folder, task.name),
        None if of_masks else np.asarray(store.images),
        np.asarray(store.masks),
        times=task.settings.times,
        noises=task.settings.noises,
        seed=task.seed,
        batch=task.settings.batch,
        precision="float32",  # members and others differ by less than bfloat16 can tell
    )
