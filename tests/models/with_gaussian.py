"""Small generators of each family that read distances and have a linear denoiser."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from models.base import Generator
from models.data import one_hot
from models.ddpm import DDPM, DDPMNetwork
from models.fm import FlowMatching, FlowNetwork
from models.gaussian import GaussianSettings
from models.ldm import LDM, LDMNetwork
from models.vqvae import VQVAE, VQVAENetwork
from tests.models.conftest import LINEAR

SIZE = 16
GAUSSIAN = GaussianSettings(components=4, cells=4, block=4, slices=64, size=SIZE)
RESIDUAL = replace(LINEAR, prediction="residual")
AUTOENCODER = VQVAENetwork((8, 16), (2, 1), 1, 4, 32, 0.25, 4)
CONFIGS: dict[str, tuple[type[Generator], Any]] = {
    "ddpm": (DDPM, DDPMNetwork((8, 16), 1, (False, True), 8, 4, RESIDUAL, "distances", GAUSSIAN)),
    "ldm": (LDM, LDMNetwork((8, 16), 1, (False, True), 8, 4, 8, RESIDUAL, AUTOENCODER, "distances", GAUSSIAN)),
    "fm": (FlowMatching, FlowNetwork((8, 16), 1, (False, True), 1, 16, 4, 4, 1000, "distances", GAUSSIAN)),
}


def slices(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 16, 16) with a bright disc in a ring, beside a third structure, and their one-hot masks."""
    rng = torch.Generator().manual_seed(seed)
    row, column, radius, tone = torch.rand(4, count, 1, 1, generator=rng)
    place = torch.arange(SIZE).float()
    distance = torch.hypot(place[:, None] - 6 - 4 * row, place - 6 - 4 * column) - 1.5 - 2 * radius
    labels = torch.where(distance < 0, 1, torch.where(distance < 1.5, 2, torch.where((distance < 3) & (place < 6), 3, 0)))
    shown = torch.tensor([-0.8, 0.6, -0.3, 0.4])[labels] * (0.7 + 0.3 * tone)
    return (shown + 0.1 * torch.randn(shown.shape, generator=rng))[:, None].clamp(-1, 1), one_hot(labels)


def build(name: str) -> Any:
    """A generator before its training, with its linear denoiser fitted; the same one at each call."""
    kind, config = CONFIGS[name]
    images, masks = slices(GAUSSIAN.slices)
    torch.manual_seed(1)
    network = kind(config)
    if name == "ldm":
        network.adopt(VQVAE(AUTOENCODER), images)
    network.fit_gaussian(images, masks)
    return network


def build_awake(name: str) -> Any:
    """The same as after some training: no weight is zero any more, so that image, mask and time have a say."""
    network = build(name)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return network.eval()
