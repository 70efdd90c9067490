"""Networks, their training loop and their samplers. Importing the package repairs a torchvision that cannot load here."""

from models import torchvision_shim

torchvision_shim.apply()
