"""The networks that we take from MONAI, imported without what MONAI would bring along.

``import monai`` loads all of it, and with it every optional package that is installed: torchvision brings torch's compiler, and
MLflow a thousand modules, which took a third of the start of each stage. None of the networks below uses either, so for as long
as MONAI is being imported both are hidden from it; afterwards they can be imported as ever. MONAI's own use of them (an MLflow
handler, a backbone of torchvision's) then says that they are missing.

MONAI's attention turns its tensors with einops, which it does not require: where that is missing, :class:`Rearrange` does it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from torch import Tensor, nn


@contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Within it these packages cannot be imported, unless they have been before."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None is Python's own mark for it
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


class Rearrange(nn.Module):
    """The layer of einops of this name, for the three patterns of MONAI's attention and no others."""

    def __init__(self, pattern: str, **sizes: int):
        super().__init__()
        self._turn = {
            "b h (qkv l d) -> qkv b l h d": lambda x: x.unflatten(2, (sizes["qkv"], sizes["l"], -1)).permute(2, 0, 3, 1, 4),
            "b h (l d) -> b l h d": lambda x: x.unflatten(2, (sizes["l"], -1)).transpose(1, 2),
            "b l h d -> b h (l d)": lambda x: x.transpose(1, 2).flatten(2),
        }[pattern]

    def forward(self, x: Tensor) -> Tensor:
        return self._turn(x)


with _hidden("torchvision", "mlflow"):
    from monai.losses import DiceCELoss
    from monai.networks.blocks import crossattention, selfattention
    from monai.networks.nets import ControlNet, DiffusionModelUNet, DynUNet
    from monai.networks.nets.spade_diffusion_model_unet import SPADEDiffResBlock, SPADEDiffusionModelUNet

if find_spec("einops") is None:
    crossattention.Rearrange = selfattention.Rearrange = Rearrange

__all__ = ["ControlNet", "DiceCELoss", "DiffusionModelUNet", "DynUNet", "SPADEDiffResBlock", "SPADEDiffusionModelUNet"]
