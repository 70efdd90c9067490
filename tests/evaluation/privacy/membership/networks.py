"""Networks to attack: tiny ones of all kinds, and ones that answer as told."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from models.base import Generator
from models.ddpm import DDPM, DDPMNetwork
from models.distances import MaskFlow
from models.fm import FlowMatching
from models.ldm import LDM
from models.one_hot import MaskDDPM, MaskNetwork
from tests.models.conftest import DISTANCES, LINEAR
from tests.models.test_fm import TINY as FLOW
from tests.models.test_ldm import TINY as LATENT

MASK_KINDS = ("masks", "distances")
KINDS = ("ddpm", "ldm", "fm", *MASK_KINDS)


def tiny(kind: str) -> nn.Module:
    """As after some training: no weight is zero any more."""
    torch.manual_seed(0)
    network = {
        "ddpm": lambda: DDPM(DDPMNetwork((8, 16), 1, (False, False), 8, 4, LINEAR)),
        "ldm": lambda: LDM(LATENT),
        "fm": lambda: FlowMatching(FLOW),
        "distances": lambda: MaskFlow(replace(DISTANCES, grid=16, attention=(False, False))),
        "masks": lambda: MaskDDPM(MaskNetwork("one_hot", (8, 16), 1, (False, False), 8, 4, LINEAR)),
    }[kind]()
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return network


class Told(Generator):
    """x_t = a·image + b·noise, the target is c·noise + d·image; an estimate of the noise is given, the answer follows from it.

    Args:
        kind: ``epsilon``, ``v``, ``flow`` or ``image``, by what it is asked for.
        estimate: x_t (B, 1, H, W) and t (B,) to the noise that the network takes to be in it.
    """

    timesteps = 1000

    def __init__(self, kind: str, estimate: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        self.kind, self.estimate = kind, estimate
        self.weight = nn.Parameter(torch.zeros(1))
        self.asked: list[int] = []

    def _mix(self, t: int) -> tuple[float, float, float, float]:
        if self.kind == "flow":
            time = 1 - (t + 1) / self.timesteps
            return time, 1 - time, -1.0, 1.0
        kept = math.prod(1 - 1e-4 - (0.02 - 1e-4) * step / 999 for step in range(t + 1))
        a, b = math.sqrt(kept), math.sqrt(1 - kept)
        return (a, b, *{"epsilon": (1.0, 0.0), "v": (a, -b), "image": (0.0, 1.0)}[self.kind])

    def denoising_error(self, images: Tensor, masks: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        self.asked += t.tolist()
        a, b, c, d = self._mix(int(t[0]))
        x = a * images + b * noise
        guess = self.estimate(x, t)
        return c * guess + d * (x - b * guess) / a, c * noise + d * images

    def loss(self, *_):
        raise NotImplementedError

    def sample(self, *_, **__):
        raise NotImplementedError


class Oracle(Told):
    """Its error is ``wrong`` on slices whose first pixel is above 0, and ``right`` on all others, at every time and noise."""

    def __init__(self, right: float, wrong: float):
        super().__init__("epsilon", lambda x, t: x)
        self.right, self.wrong = right, wrong

    def denoising_error(self, images: Tensor, masks: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        size = torch.where(images[:, :, :1, :1] > 0, self.wrong, self.right)
        return noise + size * self.chequered(images.shape[-1]), noise.expand_as(images)

    @staticmethod
    def chequered(width: int) -> Tensor:
        """Of mean square 1 and of the middle frequencies."""
        return torch.cos(torch.pi / 2 * torch.arange(width)) * math.sqrt(2)
