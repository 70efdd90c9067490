"""What membership attacks read of a network, through its ``denoising_error`` and nothing else.

Four signals: the training loss on fixed times and noises; the share of it that lies in low frequencies (ours, for masks:
how finely outlined one is decides most of its error, while a network that knows it has its place and shape right and errs
in the fine grain); the authors' pair of middle frequencies and SSIM (their public code,
``privacy_evaluation/synthetic_image_privacy``: FCRE); and PIA (Kong et al. 2023, "An efficient membership inference attack for
the diffusion model by proximal initialization", doi:10.48550/arXiv.2305.18355).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmr.errors import DataError
from evaluation.images import check_masks, check_pairs, to_unit
from evaluation.privacy.membership import Signals
from evaluation.privacy.membership.settings import check_grid
from models import torchvision_shim
from models.base import Generator, MaskGenerator
from models.config import Precision
from models.data import one_hot
from models.device import autocast, weights_cast_once

torchvision_shim.apply()  # before torchmetrics, which imports torchvision

from torchmetrics.functional.image import structural_similarity_index_measure  # noqa: E402

BAND = (0.15, 0.85)  # of the highest frequency along an axis: the authors' middle frequencies
SSIM_RANGE = 2.0  # the authors' data range, for noise as for velocities
SSIM_REACH = 5  # pixels that the Gaussian window reaches to either side; the border is mirrored as far
PIA_TIME, PIA_NORM = 0.2, 4  # Kong et al., section 4: t = 200 of 1000
NO_ERROR = 1e-12  # added to mean squares before the logarithm
LEAST_GAIN = 1e-3  # below it a target holds no noise

Query = Callable[[int, Tensor], tuple[Tensor, Tensor]]
"""Integer time and one noise (C, H, W) for all slices of a batch, to prediction and target (B, C, H, W), float32."""


@torch.no_grad()
def read_signals(
    network: Generator | MaskGenerator,
    images: NDArray[np.floating] | None,
    masks: NDArray[np.integer],
    *,
    times: Sequence[float],
    noises: int,
    seed: int,
    batch: int,
    precision: Precision,
) -> Signals:
    """Reads all signals of N slices, in T·noises + 2 network passes a slice; the network is put into evaluation mode.

    Every slice meets the same noises, drawn from the seed, the time step and their number (common random numbers): what a
    noise adds to the error it adds to members and non-members alike, so their comparison has less chance in it than with as
    many noises of each slice's own; and neither the batch nor the order nor the other slices matter.

    Args:
        images: (N, H, W) in [-1, 1]; None for a :class:`MaskGenerator`, which is asked about the masks.
        masks: (N, H, W) labels 0-3.
        times: T shares of ``network.timesteps``, 0 next to the image, 1 at noise; the authors draw from 0.3 to 0.6.
        noises: noises at each time, over which the errors are averaged; PIA has a time and a noise of its own.
        batch: slices a pass.

    Raises:
        DataError: no slices, images or masks that do not fit, a network whose maps are too small for SSIM, or errors that are
            not finite.
    """
    check_grid(times, noises, batch)
    masks = check_masks(masks, "attacked")
    if not len(masks):
        raise DataError("membership: no slices to attack")
    if isinstance(network, MaskGenerator) == (images is not None):
        raise DataError(f"{type(network).__name__}: give images to attack a generator of images, None for one of masks")
    if images is not None:
        check_pairs(images, masks, "attacked images and masks")
        images = 2 * to_unit(images, "attacked") - 1
    network.eval()
    size = masks.shape[-1]
    shape = network.noise_shape(size)
    if min(shape[-2:]) <= SSIM_REACH:
        raise DataError(f"membership: the network works on maps of {shape[-2:]}; SSIM needs more than {SSIM_REACH} pixels")
    steps = tuple(_step(time, network.timesteps) for time in times)
    device = next(network.parameters()).device
    drawn = [[_noise(shape, seed, step, number).to(device) for number in range(noises)] for step in steps]

    def query(start: int, count: int) -> Query:
        labels = one_hot(torch.from_numpy(np.array(masks[start : start + count]))).to(device)
        shown = None if images is None else torch.from_numpy(images[start : start + count])[:, None].to(device)
        return lambda step, noise: _ask(network, shown, labels, step, noise, precision)

    def read(start: int, count: int) -> tuple[Tensor, Tensor]:
        ask = query(start, count)
        return _grid_errors(ask, steps, drawn), pia_error(ask, _step(PIA_TIME, network.timesteps), gain, shape, device)

    with weights_cast_once(device):
        gain = _noise_gain(query(0, 1), shape, device)
        parts = list(zip(*(read(start, batch) for start in range(0, len(masks), batch)), strict=True))
    errors, pia = (torch.cat(part).double().cpu().numpy() for part in parts)
    bad = np.flatnonzero(~(np.isfinite(errors).all(axis=(1, 2)) & np.isfinite(pia)))
    if bad.size:
        raise DataError(f"membership: the network's error on slice {bad[0]} (and {bad.size - 1} more) is not finite")
    naive, frequency, low, dissimilarity = errors.transpose(1, 0, 2)
    coarse = np.log((low + NO_ERROR) / (naive + NO_ERROR))
    return Signals(steps, naive, frequency, coarse, dissimilarity, pia[:, None])


def band_errors(residual: Tensor) -> tuple[Tensor, Tensor]:
    """Mean square of what of the residual (B, C, H, W) lies in the band of middle frequencies, and of what lies below, (B,).

    The authors go back to pixels before they square; by Parseval's theorem the sum over the frequencies is the same.
    """
    rows, columns = (torch.fft.fftfreq(size, 0.5, device=residual.device) for size in residual.shape[-2:])
    radius = torch.hypot(rows[:, None], columns)  # 1 at the highest frequency along an axis
    power = torch.fft.fft2(residual, norm="ortho").abs().square()
    middle, low = (radius >= BAND[0]) & (radius <= BAND[1]), radius < BAND[0]
    return (power * middle).mean(dim=(1, 2, 3)), (power * low).mean(dim=(1, 2, 3))


def pia_error(query: Query, step: int, gain: float, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """4-norm (mean over the values) of the error at ``step`` with the network's own noise, (B,)."""
    prediction, target = query(step, proximal_noise(query, gain, shape, device))
    return (prediction - target).abs().pow(PIA_NORM).mean(dim=(1, 2, 3)).pow(1 / PIA_NORM)


def proximal_noise(query: Query, gain: float, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """The network's own estimate of the noise in the slices as they are, (B, *shape), in one pass: PIA's starting point.

    At time 0 and without noise, x = a·image, all models are asked for c·noise + d·image. A network that answers for the noise
    n and what is then left as image, (x - b·n) / a, is off its target d·image by (c - d·b/a)·n; next to the image b/a is 0, and
    so n is the residual over c (``gain``: 1 for ε, √ᾱ for v, -1 for a flow); where c is 0, the network telling the image
    itself, n lies along minus the residual.

    Adapted from the paper in two ways. Its ε_θ(x_0, 0) becomes that residual, which is the same for ε and serves v and flow as
    well. And it is scaled to the mean magnitude of a standard normal, the paper's variant PIAN: the estimates are smaller than
    the noise trained on, and of small ε, v and flow networks that knew 8 slices by heart, one each on two kinds of pictures,
    plain PIA took the members for the non-members (AUC 0 to 0.07), while the scaled one found them (0.98 to 1).
    """
    prediction, target = query(0, torch.zeros(shape, device=device))
    estimate = (prediction - target) / gain
    magnitude = estimate.abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    return estimate / magnitude * (2 / torch.pi) ** 0.5


def _grid_errors(query: Query, steps: Sequence[int], drawn: Sequence[Sequence[Tensor]]) -> Tensor:
    """(B, 4, T): the errors at each time, averaged over its noises."""
    columns = [
        torch.stack([_errors(*query(step, noise)) for noise in noises]).mean(dim=0)
        for step, noises in zip(steps, drawn, strict=True)
    ]
    return torch.stack(columns, dim=2)


def _errors(prediction: Tensor, target: Tensor) -> Tensor:
    """(B, 4): mean squared error, its middle and its low frequencies, 1 - SSIM."""
    residual = prediction - target
    ssim = structural_similarity_index_measure(prediction, target, data_range=SSIM_RANGE, reduction="none")
    assert isinstance(ssim, Tensor)  # a tuple only where the full map is asked for
    naive = residual.square().mean(dim=(1, 2, 3))
    return torch.stack([naive, *band_errors(residual), 1 - ssim.reshape(len(residual))], dim=1)


def _ask(
    network: Generator | MaskGenerator, images: Tensor | None, masks: Tensor, step: int, noise: Tensor, precision: Precision
) -> tuple[Tensor, Tensor]:
    t = torch.full((len(masks),), step, device=masks.device)
    noise = noise.expand(len(masks), *noise.shape[-3:])
    with autocast(masks.device, precision):
        if isinstance(network, MaskGenerator):
            prediction, target = network.denoising_error(masks, t, noise)
        else:
            assert images is not None
            prediction, target = network.denoising_error(images, masks, t, noise)
    return prediction.float(), target.float()


def _step(time: float, timesteps: int) -> int:
    return round(time * (timesteps - 1))


def _noise(shape: tuple[int, ...], seed: int, step: int, number: int) -> Tensor:
    """Standard normal (C, H, W), drawn on the CPU, so that it is the same on every device."""
    own = int(np.random.SeedSequence([seed, step, number]).generate_state(1, np.uint64)[0] >> 1)
    return torch.randn(shape, generator=torch.Generator().manual_seed(own))


def _noise_gain(query: Query, shape: tuple[int, ...], device: torch.device) -> float:
    """How much of the noise the target holds at time 0, read off two targets, so that no network has to tell its kind."""
    (_, without), (_, with_one) = (query(0, torch.full(shape, value, device=device)) for value in (0.0, 1.0))
    gain = float((with_one - without).mean())
    return gain if abs(gain) > LEAST_GAIN else -1.0  # a network that tells the image itself falls short of it by the noise
