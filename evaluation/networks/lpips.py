"""LPIPS, the learned perceptual distance of two images (Zhang et al. 2018, arXiv:1801.03924), version 0.1.

The linear heads are those of the ``lpips`` package; the backbones come from :mod:`evaluation.networks.weights`.

LPIPS is the squared Euclidean distance of two feature vectors: the activations of five layers, each pixel scaled to unit length
over the channels, times the root of (linear weight of the channel / pixels of the layer). So the distances of N to M images
take N + M passes of the network and a matrix product, not N·M passes.
"""

import warnings
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from cmr.errors import DataError
from evaluation.images import to_unit
from evaluation.networks import weights
from models import torchvision_shim
from models.device import pick_device

torchvision_shim.apply()  # before lpips, which imports torchvision

import lpips  # noqa: E402
from lpips import pretrained_networks  # noqa: E402

Kind = Literal["vgg", "alex"]

BATCH = 16
SMALLEST: Final = {"vgg": 16, "alex": 31}
"""Pixels below which a layer of the backbone has none left."""

_BACKBONES = {"vgg": (pretrained_networks.vgg16, "lpips-vgg16"), "alex": (pretrained_networks.alexnet, "lpips-alexnet")}


class LpipsNetwork:
    """LPIPS with the backbone VGG16 (the paper's Table IV, VI) or AlexNet.

    Raises:
        DataError: the weights cannot be had, see :func:`evaluation.networks.weights.obtain`.
    """

    def __init__(self, kind: Kind = "vgg", device: torch.device | None = None):
        self.kind = kind
        self.device = device or pick_device()
        backbone, name = _BACKBONES[kind]
        tensors = weights.load(name)
        # On no device, else torchvision draws 138 million weights that nobody wants; lpips calls it in a way that it warns of.
        with torch.device("meta"), warnings.catch_warnings(action="ignore", category=UserWarning):
            self.backbone: nn.Module = backbone(pretrained=False)
        # torchvision's `features.0.weight` is `slice1.0.weight` in lpips, which keeps the number of the layer.
        own = {f"features.{key.partition('.')[2]}": key for key in self.backbone.state_dict()}
        self.backbone.load_state_dict({own[key]: tensor for key, tensor in tensors.items()}, assign=True)
        self.backbone.requires_grad_(False).eval().to(self.device)
        self.scaling: nn.Module = lpips.ScalingLayer().to(self.device)
        self.heads = [head.to(self.device) for head in _heads(kind)]

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """LPIPS (B,) of images (B, 1, H, W) in [-1, 1], 0 for identical ones.

        Raises:
            DataError: images too small for the backbone.
        """
        with torch.inference_mode():
            pairs = zip(self._layers(first.to(self.device)), self._layers(second.to(self.device)), strict=True)
            return torch.stack([(a - b).square().flatten(1).sum(1) for a, b in pairs]).sum(0)

    def features(self, images: NDArray[np.floating], file: Path | None = None) -> NDArray[np.floating]:
        """One row an image, (N, D) float32; the squared Euclidean distance of two rows is the LPIPS of the two images, see
        :func:`evaluation.privacy.search.squared_distance`.

        D grows with the pixels: 499 712 at 64 and 1 998 848 at 128 pixels for VGG (2 and 8 MB an image), 31 872 and 148 608
        for AlexNet.

        Args:
            images: (N, H, W) in [-1, 1].
            file: where there are too many for the memory: a ``.npy`` file that the features are written to in float16, half the
                size, at a loss below 1e-4 in the distances; it is returned memory-mapped.

        Raises:
            DataError: wrong shape, values that are not finite or far outside [-1, 1], images too small for the backbone.
        """
        pixels = torch.from_numpy(to_unit(images, "LPIPS")[:, None] * 2 - 1)
        shape = (len(pixels), self.dimension(*pixels.shape[2:]))
        out: NDArray[np.floating] = (
            np.empty(shape, np.float32) if file is None else np.lib.format.open_memmap(file, "w+", np.float16, shape)
        )
        with torch.inference_mode():
            for start in tqdm(range(0, len(out), BATCH), desc="LPIPS", unit="batch", leave=False, disable=None):
                layers = self._layers(pixels[start : start + BATCH].to(self.device))
                out[start : start + BATCH] = torch.cat([layer.flatten(1) for layer in layers], dim=1).cpu().numpy()
        return out

    def dimension(self, height: int, width: int) -> int:
        """Number D of the features of an image."""
        return sum(layer.numel() for layer in self._layers(torch.zeros(1, 1, height, width, device=self.device)))

    def _layers(self, images: Tensor) -> list[Tensor]:
        """The scaled activations, (B, C, h, w) a layer."""
        if min(images.shape[-2:]) < SMALLEST[self.kind]:
            raise DataError(
                f"LPIPS ({self.kind}): {images.shape[-2]} × {images.shape[-1]} pixels; expected {SMALLEST[self.kind]}"
            )
        outputs = self.backbone(self.scaling(images))
        return [
            lpips.normalize_tensor(output) * (head / output[0, 0].numel()).sqrt()
            for output, head in zip(outputs, self.heads, strict=True)
        ]


def _heads(kind: Kind) -> list[Tensor]:
    """The weights of the channels, (1, C, 1, 1) a layer; none is negative."""
    folder = Path(lpips.__file__).parent / "weights" / "v0.1"
    heads = torch.load(folder / f"{kind}.pth", map_location="cpu", weights_only=True)
    return [heads[f"lin{layer}.model.1.weight"] for layer in range(5)]
