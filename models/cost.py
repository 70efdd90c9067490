"""What a network costs: parameters, multiplications, memory. Measured on tensors that have a shape but no values.

Nothing is computed and next to nothing is allocated, so the largest network is measured in seconds on the smallest machine.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """What one network, or one part of it, costs.

    Attributes:
        kind: class of the network.
        parameters: number of trainable and frozen weights.
        macs: multiply-accumulate operations of the pass that was measured, in convolutions and matrix products.
        activations: bytes that the pass keeps for the backward pass: distinct tensors, without the network's own.
        checkpoint: bytes of the state dict.
        parts: its direct children that hold weights, by attribute.
    """

    kind: str
    parameters: int
    macs: int
    activations: int
    checkpoint: int
    parts: dict[str, "Cost"] = field(default_factory=dict)


def shapes_only() -> AbstractContextManager[Any]:
    """Inside, networks and tensors are made, and run, without values: of any size, at once."""
    return FakeTensorMode()


def measure(network: nn.Module, forward: Callable[[], object]) -> Cost:
    """The cost of ``forward``, a call that uses ``network``, in all and in each of its parts.

    What a part's modules do is the part's, whether it is called as a whole or through a method of its own; what the network
    does between its parts is in the sum alone. Use it inside :func:`shapes_only`, or on real tensors with the same outcome.
    """
    own = {id(tensor.untyped_storage()) for tensor in [*network.parameters(), *network.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}
    spent = {name: replace(_resting(part), kind=type(part).__name__) for name, part in network.named_children()}
    inside: list[str] = []  # the part that is running, once for each of its modules on the stack

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in own and id(storage) not in kept:
            kept[id(storage)] = storage
            if inside:
                _spend(spent, inside[0], activations=storage.nbytes())
        return tensor

    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    saved = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with torch.enable_grad(), _followed(network, inside, counter, spent), counter, saved:
        forward()
    parts = {name: cost for name, cost in spent.items() if cost.parameters}
    bytes_kept = sum(storage.nbytes() for storage in kept.values())
    return replace(_resting(network), macs=counter.get_total_flops() // 2, activations=bytes_kept, parts=parts)


def _resting(network: nn.Module) -> Cost:
    """What is known of a network without running it."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    checkpoint = sum(tensor.nbytes for tensor in network.state_dict(keep_vars=True).values())
    return Cost(type(network).__name__, parameters, 0, 0, checkpoint)


def _spend(spent: dict[str, Cost], part: str, *, macs: int = 0, activations: int = 0) -> None:
    cost = spent[part]
    spent[part] = replace(cost, macs=cost.macs + macs, activations=cost.activations + activations)


@contextmanager
def _followed(network: nn.Module, inside: list[str], counter: FlopCounterMode, spent: dict[str, Cost]) -> Iterator[None]:
    """Keeps ``inside`` while the network runs, and puts the multiplications done down to the part that did them."""
    before = [0]

    def enter(part: str) -> None:
        if not inside:
            before[0] = counter.get_total_flops()
        inside.append(part)

    def leave() -> None:
        part = inside.pop()
        if not inside:
            _spend(spent, part, macs=(counter.get_total_flops() - before[0]) // 2)

    hooks = []
    for name, part in network.named_children():
        for module in part.modules():
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: enter(name)))
            hooks.append(module.register_forward_hook(lambda *_: leave()))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    """Operations (two a multiplication) of scaled dot-product attention of (B, heads, tokens, width) tensors."""
    batch, heads, tokens, width = query
    return 2 * batch * heads * tokens * key[-2] * (width + value[-1])


# What torch's own counter leaves out: the fused attention of the CPU.
_FORMULAS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
