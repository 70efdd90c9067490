"""The optimisers that a training can name."""

from typing import Any

import torch
from torch import nn

from models.config import TrainSettings

LEAST_CHANNELS = 16
"""Muon takes the weights of convolutions with at least so many channels on either side: it makes the directions of a matrix
equally strong, which means little for a matrix of few rows."""


def optimiser(network: nn.Module, settings: TrainSettings) -> "torch.optim.Optimizer | Muon":
    """What ``settings.optimiser`` names, for the trained weights of a network on its device."""
    trained = [p for p in network.parameters() if p.requires_grad]
    if settings.optimiser == "muon":
        return Muon(trained, settings.learning_rate, settings.weight_decay)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimiser]
    # Fused: one pass over weights, gradient and moments instead of a dozen, which for the LDM were a third of a step on a CPU.
    return kind(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


class Muon:
    """Muon for convolutions between many channels, AdamW for all other weights, with the interface of one optimiser.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) moves a matrix by the nearest orthogonal one to its
    momentum. torch's takes matrices only, so it gets a convolution's weight as (out, in · height · width); its steps are scaled
    to AdamW's usual size, so that both share the learning rate (Liu et al. 2025, doi:10.48550/arXiv.2502.16982).
    """

    def __init__(self, weights: list[nn.Parameter], learning_rate: float, weight_decay: float):
        self._convolutions = [p for p in weights if p.ndim == 4 and min(p.shape[:2]) >= LEAST_CHANNELS]
        chosen = {id(p) for p in self._convolutions}
        # Each shares its memory with the weight, and so moves it.
        self._matrices = [nn.Parameter(p.detach().view(len(p), -1)) for p in self._convolutions]
        others = [p for p in weights if id(p) not in chosen]
        self._parts: list[torch.optim.Optimizer] = []
        if others:
            self._parts.append(
                torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True)
            )
        if self._matrices:
            self._parts.append(
                torch.optim.Muon(
                    self._matrices, lr=learning_rate, weight_decay=weight_decay, ns_steps=4, adjust_lr_fn="match_rms_adamw"
                )
            )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self._parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self._parts:
            part.zero_grad(set_to_none)
        for weight in self._convolutions:
            weight.grad = None

    def step(self) -> None:
        for matrix, weight in zip(self._matrices, self._convolutions, strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.view(len(weight), -1)
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {str(number): part.state_dict() for number, part in enumerate(self._parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for number, part in enumerate(self._parts):
            part.load_state_dict(state[str(number)])
