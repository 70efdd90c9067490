"""LPIPS as a paired metric (Zhang et al. 2018, arXiv:1801.03924), with the backbone VGG16 of the paper's Table IV."""

from collections.abc import Callable

from torch import Tensor

from evaluation.networks.lpips import LpipsNetwork


def lpips(network: LpipsNetwork) -> Callable[[Tensor, Tensor], Tensor]:
    """A metric as those of :data:`~evaluation.fidelity.paired.PAIRED`, but none of them because its network needs weights.

    Returns:
        From two (B, 1, H, W) in [0, 1] to (B,); 0 for identical images, smaller is more alike.
    """
    return lambda images, references: network.distance(2 * images - 1, 2 * references - 1).cpu()
