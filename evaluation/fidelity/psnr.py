"""Peak signal-to-noise ratio."""

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

CEILING = 100.0  # identical images have an infinite ratio, which no mean survives


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """-10·log10 of the mean squared error of each image, data range 1, at most 100 dB.

    Args:
        images, references: (B, 1, H, W) in [0, 1].

    Returns:
        (B,) in dB.
    """
    values = [
        peak_signal_noise_ratio(image, reference, data_range=1.0) for image, reference in zip(images, references, strict=True)
    ]
    return torch.stack(values).clamp(max=CEILING)
