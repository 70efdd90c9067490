import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from evaluation.fidelity.paired import PAIRED
from evaluation.fidelity.ssim import ssim


def test_identical_images_have_one_and_the_opposite_less_than_none(images):
    assert ssim(images, images) == pytest.approx(torch.ones(5))
    assert (ssim(1 - images, images) < 0).all()


def test_constant_images_follow_the_formula():
    dark, bright = torch.full((1, 1, 32, 32), 0.2), torch.full((1, 1, 32, 32), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)  # only the luminance term is left
    assert ssim(dark, bright).item() == pytest.approx(expected, abs=1e-4)


def test_agrees_with_scikit_image(images, noise):
    noisy = (images + 0.1 * noise).clamp(0, 1)
    # scikit-image leaves a border of half a window out of its mean; torchmetrics mirrors the image over it.
    pairs = zip(*(np.pad(x[:, 0].double(), ((0, 0), (5, 5), (5, 5)), mode="reflect") for x in (noisy, images)), strict=True)
    theirs = [
        structural_similarity(a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for a, b in pairs
    ]
    assert ssim(noisy, images).numpy() == pytest.approx(np.array(theirs), abs=1e-4)


@pytest.mark.parametrize("name", ["ssim", "ms_ssim", "psnr"])
def test_the_batch_changes_nothing(name, images, noise):
    noisy = (images + 0.1 * noise).clamp(0, 1)
    single = torch.cat([PAIRED[name](noisy[i : i + 1], images[i : i + 1]) for i in range(5)])
    assert PAIRED[name](noisy, images) == pytest.approx(single, rel=1e-5)
