"""Fidelity of synthetic images."""

from models import torchvision_shim

torchvision_shim.apply()  # before torchmetrics, which imports torchvision
