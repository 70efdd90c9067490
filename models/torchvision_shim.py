"""Lets libraries import torchvision where only its CUDA build is installed beside a CPU build of torch.

That build's compiled operators cannot be loaded without CUDA, and ``import torchvision`` then fails while it registers a
shape rule for an operator that does not exist. lpips, torch-fidelity, torchmetrics and diffusers all import torchvision but
call none of its compiled operators, so declaring the two operators, without giving them code, is enough. A call of them
still fails loudly. A torchvision that works, on CUDA or as a CPU build, is left alone.
"""

import importlib.util
from pathlib import Path

import torch

_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: torch.library.Library | None = None  # the declaration lives as long as this object does


def apply() -> None:
    """Declares the missing operators in this process, once; does nothing where torchvision can load its own."""
    global _declared
    if _declared is not None or torch.version.cuda is not None or _operators_load():
        return
    _declared = torch.library.Library("torchvision", "DEF")
    for name, signature in _OPERATORS.items():
        _declared.define(name + signature)


def _operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # not installed: nothing to repair, and whoever needs it will say so
    if hasattr(torch.ops.torchvision, "nms"):
        return True
    try:
        for library in Path(spec.origin).parent.glob("_C*.so"):
            torch.ops.load_library(str(library))
    except OSError:
        return False
    return hasattr(torch.ops.torchvision, "nms")
