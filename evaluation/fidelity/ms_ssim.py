"""Multi-scale structural similarity (Wang, Simoncelli and Bovik 2003, doi:10.1109/ACSSC.2003.1292216)."""

from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from cmr.errors import DataError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # the authors' five scales, finest first
WINDOW = 11


def scale_weights(size: int) -> tuple[float, ...]:
    """Weights of the scales at which an image of ``size`` pixels still holds the window, renormalised to a sum of 1.

    Five from 176 pixels on, four at 128, three at 64, two at 32.

    Raises:
        DataError: smaller than the window.
    """
    # scale² is torchmetrics' own condition, which for the fourth scale is the stricter one.
    scales = sum(size // max(2**scale, scale**2) >= WINDOW for scale in range(len(WEIGHTS)))
    if scales == 0:
        raise DataError(f"MS-SSIM: images of {size} pixels; expected at least {WINDOW}")
    kept = WEIGHTS[:scales]
    return tuple(weight / sum(kept) for weight in kept)


def ms_ssim(images: Tensor, references: Tensor) -> Tensor:
    """MS-SSIM, data range 1, negative terms cut to 0.

    Args:
        images, references: (B, 1, H, W) in [0, 1].

    Returns:
        (B,), 0 to 1; 1 for identical images.

    Raises:
        DataError: images smaller than 11 pixels.
    """
    betas = scale_weights(min(images.shape[-2:]))
    values = multiscale_structural_similarity_index_measure(
        images, references, data_range=1.0, betas=betas, normalize="relu", reduction="none"
    )
    return values.reshape(len(images))
