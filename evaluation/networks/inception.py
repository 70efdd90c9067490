"""Features of the Inception network for FID, KID, precision and recall.

The network and its resizing are torch-fidelity's ``inception-v3-compat``, which reproduces the TensorFlow graph that FID was
published with (Heusel et al. 2017, arXiv:1706.08500); the weights come from :mod:`evaluation.networks.weights`.
"""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tqdm import tqdm

from evaluation.images import to_unit
from evaluation.networks import weights
from models import torchvision_shim
from models.device import pick_device

torchvision_shim.apply()  # before torch-fidelity, which imports torchvision

from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3  # noqa: E402

BATCH = 16
FEATURES = 2048
_CLASSES = 1008


def library_network() -> FeatureExtractorInceptionV3:
    """torch-fidelity's network as the library has it, with the weights of the cache.

    Raises:
        DataError: the weights cannot be had, see :func:`evaluation.networks.weights.obtain`.
    """
    tensors = weights.load("inception-fid")
    # The library's network ends in a classifier, which is neither in the cache nor ever reached.
    tensors |= {"fc.weight": torch.zeros(_CLASSES, FEATURES), "fc.bias": torch.zeros(_CLASSES)}
    file = io.BytesIO()
    torch.save(tensors, file)
    file.seek(0)
    return FeatureExtractorInceptionV3("inception-v3-compat", [str(FEATURES)], feature_extractor_weights_path=file)


class InceptionFeatures:
    """Maps images to the 2048 features before the classifier.

    Raises:
        DataError: the weights cannot be had, see :func:`evaluation.networks.weights.obtain`.
    """

    def __init__(self, device: torch.device | None = None):
        self.device = device or pick_device()
        self.network = library_network()
        for block in self.network.modules():
            if isinstance(block, BasicConv2d):  # a fixed normalisation can be part of the weights: one pass less over its image
                block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), nn.Identity()
        self.network.to(device=self.device, memory_format=torch.channels_last)

    def __call__(self, images: NDArray[np.floating]) -> NDArray[np.float64]:
        """Features (N, 2048) of images (N, H, W) in [-1, 1], rounded to 256 grey levels first; values beyond are clipped.

        In float32: bfloat16 would move FID, by 0.3 % where it was tried on real slices.

        Raises:
            DataError: wrong shape, values that are not finite or far outside [-1, 1].
        """
        levels = np.rint(to_unit(images, "Inception's") * 255).astype(np.uint8)
        features = np.empty((len(levels), FEATURES))
        with torch.inference_mode():
            for start in tqdm(range(0, len(levels), BATCH), desc="Inception", unit="batch", leave=False, disable=None):
                grey = torch.from_numpy(levels[start : start + BATCH, None]).to(self.device)
                (batch,) = self.network(grey.expand(-1, 3, -1, -1))
                features[start : start + BATCH] = batch.cpu().numpy()
        return features
