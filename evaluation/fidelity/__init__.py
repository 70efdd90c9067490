"""Fidelity of synthetic images. A paired metric is one file with one function and one line in :data:`PAIRED`.

A paired metric takes two (B, 1, H, W) float32 tensors in [0, 1] and returns (B,) values, one an image, each independent of
the other images in the batch.
"""

from collections.abc import Callable

from torch import Tensor

from models import torchvision_shim

torchvision_shim.apply()  # before torchmetrics, which imports torchvision

from evaluation.fidelity.ms_ssim import ms_ssim  # noqa: E402
from evaluation.fidelity.psnr import psnr  # noqa: E402
from evaluation.fidelity.ssim import ssim  # noqa: E402

PAIRED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ssim": ssim, "ms_ssim": ms_ssim, "psnr": psnr}
