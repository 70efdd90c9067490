"""Networks, their training loop and their samplers.

Importing the package repairs a torchvision that cannot load here, and makes float32 exact on a GPU.
"""

from models import torchvision_shim
from models.device import exact_float32

torchvision_shim.apply()
exact_float32()
