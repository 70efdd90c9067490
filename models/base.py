"""What every generator of images, and every generator of masks, promises. One variant is one small file under these."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from models.config import Precision
from models.data import Randoms
from models.diffusion import Watch


class Generator(nn.Module, ABC):
    """Draws short-axis slices for given masks.

    Shapes and units throughout: images (B, 1, H, W) float in [-1, 1]; masks (B, 4, H, W) one-hot float, channels in the
    order of :mod:`cmr.labels`; a mask of zeros means that none is given.

    Attributes:
        config: the settings that the network was built from, an instance of ``Config``.
        timesteps: number of the integer times at which the network was trained.
    """

    Config: ClassVar[type]
    """The settings dataclass of the network; an instance of it is the constructor's only argument. A generator of latents has
    a field ``autoencoder``, the settings of the autoencoder that makes them."""

    samplers: ClassVar[tuple[str, ...]]
    """The names that :meth:`sample` takes."""

    timesteps: int

    @abstractmethod
    def loss(self, images: Tensor, masks: Tensor, randoms: Randoms) -> Tensor:
        """The training loss, averaged over the images of a batch; time and noise of an image are drawn from its own source."""

    @abstractmethod
    def sample(
        self,
        masks: Tensor,
        seeds: Sequence[int],
        *,
        sampler: str,
        steps: int,
        guidance: float = 1.0,
        precision: Precision = "float32",
        watch: Watch | None = None,
    ) -> Tensor:
        """One image for each mask, from one seed an image.

        The same seed, mask and settings give the same image whatever the batch (within 1e-3 in float32).

        Args:
            sampler: one of ``samplers``.
            steps: of the sampler.
            guidance: see :func:`models.guidance.guided`.
            watch: is told each state on the way, as images (B, 1, H, W).
        """

    @abstractmethod
    def denoising_error(self, images: Tensor, masks: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The network's prediction and its target at integer times ``t`` (B,), in the model's own space.

        ``t`` runs from 0, next to the image, to ``timesteps - 1``, next to noise. ``noise`` is (B, *noise_shape). Membership
        attacks read the difference of the two.
        """

    def noise_shape(self, size: int) -> tuple[int, ...]:
        """Shape of the noise that becomes one image of ``size`` × ``size`` pixels: the image's own, unless overridden."""
        return (1, size, size)

    def adopt(self, autoencoder: nn.Module, images: Tensor) -> None:
        """Take over a trained autoencoder, once, before the training; only a generator of latents can.

        Args:
            images: (N, 1, H, W) training slices, for whatever has to be measured of their latents.
        """
        raise TypeError(f"{type(self).__name__} works on pixels and takes no autoencoder")

    def fit_gaussian(self, images: Tensor, masks: Tensor) -> None:
        """Fit the linear denoiser (see :mod:`models.gaussian`), once, before the training; only a network with one has to.

        Args:
            images: (N, 1, H, W) augmented training slices; masks: (N, 4, H, W) theirs.
        """


class MaskGenerator(nn.Module, ABC):
    """Draws anatomy: label maps of the four classes of :mod:`cmr.labels`, from noise alone.

    Attributes:
        config: the settings that the network was built from, an instance of ``Config``.
        timesteps: number of the integer times at which the network was trained.
    """

    Config: ClassVar[type]
    """The settings dataclass of the network; its field ``kind`` is the name in :data:`models.registry.MASK_MODELS`."""

    samplers: ClassVar[tuple[str, ...]]
    timesteps: int

    @abstractmethod
    def loss(self, masks: Tensor, randoms: Randoms) -> Tensor:
        """The training loss, averaged over a batch of one-hot masks (B, 4, H, W)."""

    @abstractmethod
    def sample(self, size: int, seeds: Sequence[int], *, sampler: str, steps: int, precision: Precision = "float32") -> Tensor:
        """One label map for each seed, (B, size, size) uint8; the same whatever the batch."""

    @abstractmethod
    def denoising_error(self, masks: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`Generator.denoising_error`, for one-hot masks (B, 4, H, W)."""

    @abstractmethod
    def noise_shape(self, size: int) -> tuple[int, ...]:
        """Shape of the noise that becomes one mask of ``size`` × ``size`` pixels."""
