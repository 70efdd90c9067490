"""The linear denoiser: what a network would learn first, in closed form, so that its steps go into what is not linear.

If slices were Gaussian given their mask, the best estimate of a slice under noise would be linear, and known from a mean and a
covariance. Real slices are nearly so at high noise (Wang and Vastola 2024, doi:10.48550/arXiv.2412.09726). A network on top of
it predicts what remains, in units of the error that is left.

It holds statistics and no patients: the mean is a regression on a few numbers of the mask, and the covariance is diagonal in
the cosine transform with one variance for each spatial frequency, but for the lowest frequencies, whose covariance is a full
matrix. ``docs/quality.md`` compares its error on training and on held-out patients.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.conditions import Condition
from models.distance_maps import REGIONS

RIDGE = 1e-2  # of the regression, in units of the variance of a mask's components
LEAST = 1e-6  # variance of a coefficient: none is known better than that
SHRINKAGE = 0.1  # of the low frequencies' covariances towards none, as a thousand slices tell them badly


@dataclass(frozen=True)
class GaussianSettings:
    """How much of the slices' statistics the linear denoiser keeps."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    components: int
    """Principal components of the masks' distances that the mean depends on."""
    cells: int
    """Cells along a side of the maps that those components are of."""
    block: int
    """Lowest frequencies along a side whose covariance is a full matrix."""
    slices: int
    """Augmented training slices that the statistics are taken of."""
    size: int = 0
    """Pixels along a side of a slice. Taken from ``slices.size``, so that a checkpoint is complete in itself."""

    def __post_init__(self) -> None:
        if min(self.components, self.cells, self.block, self.slices) < 1:
            raise ValueError(f"gaussian: components, cells, block and slices must be at least 1, found {self}")
        if self.components > (values := REGIONS * self.cells**2):
            raise ValueError(
                f"gaussian.components: {REGIONS} maps of {self.cells} × {self.cells} cells have at most {values}, "
                f"found {self.components}"
            )
        if self.slices <= self.components:
            raise ValueError(f"gaussian.slices: a fit needs more than components ({self.components}), found {self.slices}")


def check_gaussian(network: str, gaussian: GaussianSettings | None, condition: Condition, prediction: str) -> None:
    """Raises ``ValueError`` unless a linear denoiser has what it reads, and the prediction ``residual`` the denoiser it is of.

    Args:
        network: named in the fault; prediction: of the noise schedule, ``residual`` for a network without one.
    """
    if gaussian and condition != "distances":
        raise ValueError(f"{network}.network: a linear denoiser (gaussian) reads distances, set condition: distances")
    if (prediction == "residual") != (gaussian is not None):
        raise ValueError(
            f"{network}.network: schedule.prediction 'residual' goes with the linear denoiser whose residual it is; found "
            f"'{prediction}' and gaussian {'set' if gaussian else 'null'}"
        )


@dataclass(frozen=True)
class Start:
    """What the linear denoiser knows of noisy pictures (B, C, S, S).

    Attributes:
        mean: expected picture of each mask; ``picture``: the estimate of the clean picture, which the noisy one enters.
        error: root mean square (B, 1, 1, 1) of what the estimate is expected to miss.
    """

    mean: Tensor
    picture: Tensor
    error: Tensor

    def residual(self, clean: Tensor) -> Tensor:
        """What the estimate misses of the clean pictures, of about unit variance: the network's target."""
        return (clean - self.picture) / self.error

    def clean(self, residual: Tensor) -> Tensor:
        """The clean pictures, given the network's prediction."""
        return self.picture + self.error * residual.float()


class GaussianDenoiser(nn.Module):
    """E[x_0 | x_0 + σ·noise, mask] of pictures that are Gaussian given their mask.

    Args:
        channels: of a picture: 1, or those of latents.
        size: pixels, or cells of the latents, along its side.
    """

    mask_mean: Tensor
    mask_axes: Tensor
    weights: Tensor
    axes: Tensor
    low: Tensor
    high: Tensor
    transform: Tensor

    def __init__(self, settings: GaussianSettings, channels: int, size: int):
        super().__init__()
        if size < 1:
            raise ValueError(f"gaussian: a picture's size must be at least 1, found {size}; it is taken from slices.size")
        self.settings, self.channels, self.size = settings, channels, size
        self.block = min(settings.block, size)
        values, block = REGIONS * settings.cells**2, channels * self.block**2
        self.register_buffer("mask_mean", torch.zeros(values))
        self.register_buffer("mask_axes", torch.zeros(values, settings.components))
        self.register_buffer("weights", torch.zeros(settings.components + 1, channels * size**2))
        self.register_buffer("axes", torch.eye(block))
        self.register_buffer("low", torch.ones(block))
        self.register_buffer("high", torch.ones(channels, size, size))
        self.register_buffer("transform", _cosines(size), persistent=False)

    @torch.no_grad()
    def fit(self, pictures: Tensor, maps: Tensor) -> None:
        """Takes the statistics of pictures (N, C, S, S) and their masks' distances (N, 3, H, W)."""
        with torch.autocast(pictures.device.type, enabled=False):
            # The masks' components, each with unit variance.
            values = self._values(maps)
            self.mask_mean.copy_(values.mean(dim=0))
            _, strengths, axes = torch.linalg.svd(values - self.mask_mean, full_matrices=False)
            count = self.settings.components
            self.mask_axes.copy_(axes[:count].T / (strengths[:count] / len(values) ** 0.5).clamp(min=1e-6))

            # The mean, by ridge regression on them.
            known, flat = self._components(values), pictures.flatten(1)
            ridge = RIDGE * torch.eye(known.shape[1], device=known.device)
            ridge[-1, -1] = 0  # the constant is the mean of all pictures, which nothing should pull towards grey
            self.weights.copy_(torch.linalg.solve(known.T @ known / len(known) + ridge, known.T @ flat / len(known)))

            # The covariance of what is left: a matrix for low frequencies, a variance for each higher one.
            rest = self._forward(pictures - (known @ self.weights).view_as(pictures))
            ring = _frequencies(self.size, rest.device)
            power = rest.square().mean(dim=0)
            rings = torch.zeros(self.channels, int(ring.max()) + 1, device=rest.device)
            rings.index_add_(1, ring.flatten(), power.flatten(1))
            self.high.copy_((rings / torch.bincount(ring.flatten()))[:, ring].clamp(min=LEAST))
            low = rest[:, :, : self.block, : self.block].flatten(1).double()
            covariance = low.T @ low / len(low)
            covariance = torch.lerp(covariance, covariance.diag().diag(), SHRINKAGE)
            variances, axes = torch.linalg.eigh(covariance)
            self.low.copy_(variances.clamp(min=LEAST))
            self.axes.copy_(axes)

    def mean(self, maps: Tensor) -> Tensor:
        """The expected picture (B, C, S, S) of each mask, by its distances (B, 3, H, W); of all masks where they are 0."""
        with torch.autocast(maps.device.type, enabled=False):
            return (self._components(self._values(maps)) @ self.weights).view(-1, self.channels, self.size, self.size)

    def start(self, noisy: Tensor, signal: Tensor, noise: Tensor, maps: Tensor) -> Start:
        """What is known of noisy = signal · picture + noise · N(0, 1), with signal and noise (B,)."""
        with torch.autocast(noisy.device.type, enabled=False):
            mean, sigma = self.mean(maps), noise / signal
            return Start(mean, self(noisy.float() / signal.view(-1, 1, 1, 1), sigma, mean), self.error(sigma))

    def forward(self, x: Tensor, sigma: Tensor, mean: Tensor) -> Tensor:
        """The expected picture (B, C, S, S) given x = picture + σ·noise (B, C, S, S), σ (B,) and the masks' means."""
        with torch.autocast(x.device.type, enabled=False):
            noise = sigma.float().square().view(-1, 1, 1, 1)
            off = self._forward(x.float() - mean)
            kept = off * (self.high / (self.high + noise))
            corner = off[:, :, : self.block, : self.block].flatten(1) @ self.axes
            corner = (corner * (self.low / (self.low + noise[:, :, 0, 0]))) @ self.axes.T
            kept[:, :, : self.block, : self.block] = corner.view(-1, self.channels, self.block, self.block)
            return mean + self.transform.T @ kept @ self.transform

    def error(self, sigma: Tensor) -> Tensor:
        """Root mean square (B, 1, 1, 1) of what :meth:`forward` is expected to miss at each σ (B,)."""
        noise = sigma.float().square().view(-1, 1, 1, 1)
        high = self.high * noise / (self.high + noise)
        high[:, :, : self.block, : self.block] = 0
        low = self.low * noise[:, :, 0, 0] / (self.low + noise[:, :, 0, 0])
        return ((high.sum(dim=(1, 2, 3)) + low.sum(dim=1)) / self.high.numel()).sqrt().view(-1, 1, 1, 1)

    def _values(self, maps: Tensor) -> Tensor:
        cells = (self.settings.cells, self.settings.cells)
        return F.interpolate(maps, cells, mode="area").flatten(1)

    def _components(self, values: Tensor) -> Tensor:
        given = (values != 0).any(dim=1, keepdim=True)
        known = (values - self.mask_mean) @ self.mask_axes * given
        return torch.cat([known, torch.ones_like(known[:, :1])], dim=1)

    def _forward(self, pictures: Tensor) -> Tensor:
        """Their cosine transform."""
        return self.transform @ pictures @ self.transform.T


def _cosines(size: int) -> Tensor:
    """The orthonormal cosine transform (S, S): rows are frequencies."""
    places = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(torch.pi * (places + 0.5) * places[:, None] / size) * (2 / size) ** 0.5
    matrix[0] /= 2**0.5
    return matrix.float()


def _frequencies(size: int, device: torch.device) -> Tensor:
    """The whole-numbered spatial frequency of each coefficient (S, S)."""
    places = torch.arange(size, device=device).float()
    return (places[:, None].square() + places.square()).sqrt().round().long()
