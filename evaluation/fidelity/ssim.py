"""Structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861)."""

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """SSIM with the authors' 11-pixel Gaussian window (σ 1.5), K1 0.01, K2 0.03, data range 1.

    Args:
        images, references: (B, 1, H, W) in [0, 1], H and W at least 11.

    Returns:
        (B,), -1 to 1; 1 for identical images.
    """
    values = structural_similarity_index_measure(images, references, data_range=1.0, reduction="none")
    assert isinstance(values, Tensor)  # a tuple only where the full map is asked for
    return values.reshape(len(images))
