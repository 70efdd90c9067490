import pytest
import torch

from evaluation.fidelity.psnr import CEILING, psnr


@pytest.mark.parametrize(("offset", "decibel"), [(1.0, 0.0), (0.1, 20.0), (0.01, 40.0)])
def test_a_constant_offset(offset, decibel):
    assert psnr(torch.full((2, 1, 8, 8), offset), torch.zeros(2, 1, 8, 8)) == pytest.approx(torch.full((2,), decibel))


def test_gaussian_noise():
    noise = 0.05 * torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    assert psnr(0.5 + noise, torch.full_like(noise, 0.5)).item() == pytest.approx(26.02, abs=0.1)


def test_identical_images_are_at_the_ceiling():
    assert psnr(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8)).item() == CEILING
