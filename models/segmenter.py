"""The segmenter of the utility study: MONAI's DynUNet on slices, Dice and cross-entropy (paper, section III-C3)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmr.labels import CLASSES
from models.config import Precision
from models.device import autocast, weights_cast_once
from models.monai_networks import DiceCELoss, DynUNet


@dataclass(frozen=True)
class SegmenterNetwork:
    """Widths of the DynUNet, finest level first; each further level halves the image."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    filters: tuple[int, ...]


class Segmenter(nn.Module):
    """Slices (B, 1, H, W) in [-1, 1] in, logits of the four classes (B, 4, H, W) out."""

    Config = SegmenterNetwork

    def __init__(self, config: SegmenterNetwork):
        super().__init__()
        levels = len(config.filters)
        self.unet = DynUNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=CLASSES,
            kernel_size=[3] * levels,
            strides=[1] + [2] * (levels - 1),
            upsample_kernel_size=[2] * (levels - 1),
            filters=list(config.filters),
            norm_name="instance",
            act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
        )
        # MONAI registers the levels as lists and once more nested, as they run: kept both ways, each weight is stored twice.
        for listed in ("input_block", "downsamples", "bottleneck", "upsamples"):
            delattr(self.unet, listed)
        self.criterion = DiceCELoss(softmax=True, lambda_dice=0.5, lambda_ce=0.5)

    def forward(self, images: Tensor) -> Tensor:
        return self.unet(images)

    def loss(self, images: Tensor, masks: Tensor) -> Tensor:
        """0.5 Dice + 0.5 cross-entropy against one-hot masks (B, 4, H, W)."""
        return self.criterion(self(images).float(), masks)


@torch.no_grad()
def predict(
    network: Segmenter, images: NDArray[np.floating], *, batch: int, precision: Precision = "auto"
) -> NDArray[np.uint8]:
    """Label maps (N, H, W) of images (N, H, W) in [-1, 1]; the network is put into evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    labels = []
    with weights_cast_once(device):
        for start in range(0, len(images), batch):
            block = torch.from_numpy(np.ascontiguousarray(images[start : start + batch], dtype=np.float32))[:, None].to(device)
            with autocast(device, precision):
                labels.append(network(block).argmax(dim=1).to(torch.uint8).cpu().numpy())
    return np.concatenate(labels) if labels else np.zeros(images.shape, np.uint8)
