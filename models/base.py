"""What every generator of images, and every generator of masks, promises. One variant is one small file under these."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.config import Precision


class Generator(nn.Module, ABC):
    """Draws short-axis slices for given masks.

    Shapes and units throughout: images (B, 1, H, W) float in [-1, 1]; masks (B, 4, H, W) one-hot float, channels in the
    order of :mod:`cmr.labels`.
    """

    Config: ClassVar[type]
    """The settings dataclass of the network; an instance of it is the constructor's only argument."""

    @abstractmethod
    def loss(self, images: Tensor, masks: Tensor, rng: torch.Generator) -> Tensor:
        """The scalar training loss of a batch; time steps and noise are drawn from ``rng`` (a CPU generator)."""

    @abstractmethod
    def sample(
        self, masks: Tensor, seeds: Sequence[int], *, sampler: str, steps: int, precision: Precision = "float32"
    ) -> Tensor:
        """One image for each mask, from one seed an image.

        The same seed, mask and settings give the same image whatever the batch (within 1e-3 in float32).
        """

    @abstractmethod
    def denoising_error(self, images: Tensor, masks: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The network's prediction and its target at integer times ``t`` (B,), in the model's own space.

        ``noise`` has the shape of that space. Membership attacks read the difference of the two.
        """


class MaskGenerator(nn.Module, ABC):
    """Draws anatomy: label maps of the four classes of :mod:`cmr.labels`, from noise alone."""

    Config: ClassVar[type]

    @abstractmethod
    def loss(self, masks: Tensor, rng: torch.Generator) -> Tensor:
        """The scalar training loss of a batch of one-hot masks (B, 4, H, W)."""

    @abstractmethod
    def sample(self, size: int, seeds: Sequence[int], *, sampler: str, steps: int, precision: Precision = "float32") -> Tensor:
        """One label map for each seed, (B, size, size) uint8; the same whatever the batch."""

    @abstractmethod
    def denoising_error(self, masks: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`Generator.denoising_error`, for one-hot masks (B, 4, H, W)."""
