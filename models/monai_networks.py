"""The networks that we take from MONAI, imported without what MONAI would bring along.

``import monai`` loads all of it, and with it every optional package that is installed: torchvision brings torch's compiler, and
MLflow a thousand modules, which took a third of the start of each stage. None of the networks below uses either, so for as long
as MONAI is being imported both are hidden from it; afterwards they can be imported as ever. MONAI's own use of them (an MLflow
handler, a backbone of torchvision's) then says that they are missing.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


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


with _hidden("torchvision", "mlflow"):
    from monai.losses import DiceCELoss
    from monai.networks.nets import ControlNet, DiffusionModelUNet, DynUNet
    from monai.networks.nets.spade_diffusion_model_unet import SPADEDiffResBlock, SPADEDiffusionModelUNet

__all__ = ["ControlNet", "DiceCELoss", "DiffusionModelUNet", "DynUNet", "SPADEDiffResBlock", "SPADEDiffusionModelUNet"]
