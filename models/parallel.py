"""Training shared by several processes: whose part of a batch is whose, and sums over all of them.

The batch is the same whatever their number, each image has random numbers of its own, and the gradients are added up: the
result is that of one process but for rounding.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from cmr.errors import DataError


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
