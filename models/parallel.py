"""Training shared by several processes: whose part of a batch is whose, and sums over all of them.

The batch is the same whatever their number, each image has random numbers of its own, and the gradients are added up: the
result is that of one process but for rounding.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from cmr.errors import DataError

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """The processes that train one network together; a process alone is a team of one.

    Attributes:
        rank: of this process; the leader is 0: it alone validates, saves and tells.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @staticmethod
    def mine() -> "Team":
        """That of this process's ``torch.distributed`` group, if there is one."""
        if distributed.is_available() and distributed.is_initialized():
            return Team(distributed.get_rank(), distributed.get_world_size())
        return Team()

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """This process's part of a batch: parts differ by one image at most.

        Raises:
            DataError: there are fewer images than processes.
        """
        if count < self.size:
            raise DataError(
                f"train.workers: {self.size} processes for a batch of {count}; expected at most one for each slice. "
                "Lower train.workers or raise the network's train.batch."
            )
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def wait(self) -> None:
        """Returns when all processes have come here."""
        if self.size > 1:
            distributed.barrier()

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes of a tensor of each."""
        if self.size > 1:
            value = value.clone()
            distributed.all_reduce(value)
        return value

    def leaders(self, value: T) -> T:
        """The leader's value, in every process."""
        sent: list[Any] = [value]
        if self.size > 1:
            distributed.broadcast_object_list(sent, src=0)
        return sent[0]

    def agree(self, what: str, value: int) -> None:
        """Raises :class:`DataError`, in every process, unless all have the same value."""
        if self.size == 1:
            return
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value)
        if len(set(found)) > 1:
            raise DataError(
                f"The processes of a training disagree about {what}: {found}. All nodes must see the same project folder "
                "(docs/cluster.md)."
            )


class Pauses:
    """Decides after which steps a training saves its state and when it stops. The leader's clock decides for all processes.

    One process reads its clock after every step. Several processes communicate only after steps that they agree on: each time
    the leader also names the next such step. It lies a quarter of the way, at the pace so far, to the next save or to the
    deadline, so the steps may become up to four times slower before the processes notice too late.

    Args:
        done: steps done before.
        every: seconds from one saved state to the next.
        deadline: a time of ``time.monotonic``. Both are read in the leader only.
    """

    def __init__(self, team: Team, done: int, every: float, deadline: float):
        self._team, self._every, self._deadline = team, every, deadline
        self._next: float = done + 1
        self._looked, self._looked_at = done, time.monotonic()
        self._saved_at = self._looked_at

    def saved(self) -> None:
        """The leader has just saved the state."""
        self._saved_at = time.monotonic()

    def after(self, done: int) -> Literal["save", "stop"] | None:
        """What the training has to do after this step: save its state; save it and stop; or nothing. All processes call it."""
        if done < self._next:
            return None
        pause, self._next = self._team.leaders(self._judge(done))
        return pause

    def _judge(self, done: int) -> tuple[Literal["save", "stop"] | None, float]:
        """The answer of this process's clock, and the step after which to ask again."""
        now = time.monotonic()
        pace = (now - self._looked_at) / (done - self._looked)
        self._looked, self._looked_at = done, now
        if now >= self._deadline:
            return "stop", done + 1
        if now - self._saved_at >= self._every:
            return "save", done + 1
        if self._team.size == 1:
            return None, done + 1
        left = min(self._deadline, self._saved_at + self._every) - now
        return None, done + max(1, left / 4 / pace if pace > 0 else 1)


class SharedLoss:
    """A loss whose gradients are, after the last of a step's micro batches, those of all processes together.

    Args:
        network: that the loss is of, on its device.
        loss: maps (images or None, masks, randoms) to a scalar.
    """

    def __init__(self, network: nn.Module, loss: Callable[..., Tensor], team: Team):
        self._loss: Callable[..., Tensor] = loss
        self._spread: DistributedDataParallel | None = None
        if team.size > 1:
            # The network's own buffers are the same everywhere: they are of its making, not of its training.
            self._spread = DistributedDataParallel(_Loss(network, loss), broadcast_buffers=False)
            self._loss = self._spread

    def __call__(self, images: Tensor | None, masks: Tensor, randoms: Sequence[torch.Generator]) -> Tensor:
        return self._loss(images, masks, randoms)

    def waiting(self, last: bool) -> AbstractContextManager:
        """Within it gradients stay in this process, unless it is for the last micro batch of a step."""
        return nullcontext() if last or self._spread is None else self._spread.no_sync()


class _Loss(nn.Module):
    """What ``DistributedDataParallel`` watches is a module's forward pass; ours is the loss."""

    def __init__(self, network: nn.Module, loss: Callable[..., Tensor]):
        super().__init__()
        self.network = network
        self._loss = loss

    def forward(self, images: Tensor | None, masks: Tensor, randoms: Sequence[torch.Generator]) -> Tensor:
        return self._loss(images, masks, randoms)
