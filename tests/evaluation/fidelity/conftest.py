import pytest
import torch


@pytest.fixture
def images():
    """(5, 1, 64, 64) smooth random images in [0, 1]."""
    coarse = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)


@pytest.fixture
def noise(images):
    return torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
