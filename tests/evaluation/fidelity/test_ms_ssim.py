import pytest
import torch

from cmr.errors import DataError
from evaluation.fidelity.ms_ssim import WEIGHTS, ms_ssim, scale_weights


def test_identical_images_have_one_and_noise_little(images, noise):
    assert ms_ssim(images, images) == pytest.approx(torch.ones(5))
    assert (ms_ssim((0.5 + noise).clamp(0, 1), images) < 0.3).all()


@pytest.mark.parametrize(("size", "scales"), [(11, 1), (32, 2), (64, 3), (128, 4), (175, 4), (176, 5), (256, 5)])
def test_small_images_have_fewer_scales_with_weights_that_sum_to_one(size, scales):
    weights = scale_weights(size)
    assert len(weights) == scales
    assert sum(weights) == pytest.approx(1)
    assert weights[0] / weights[-1] == pytest.approx(WEIGHTS[0] / WEIGHTS[scales - 1])


def test_five_scales_are_those_of_torchmetrics():
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure  # after evaluation's shim

    a = torch.rand(2, 1, 192, 192, generator=torch.Generator().manual_seed(0))
    b = (a + 0.1).clamp(0, 1)
    theirs = multiscale_structural_similarity_index_measure(a, b, data_range=1.0, reduction="none", normalize="relu")
    assert ms_ssim(a, b) == pytest.approx(theirs, abs=1e-4)


def test_every_size_that_has_weights_can_be_computed():
    for size in (11, 22, 43, 44, 98, 99, 128, 175, 176):
        assert ms_ssim(torch.ones(1, 1, size, size), torch.ones(1, 1, size, size)).item() == pytest.approx(1)


def test_too_small_images_are_an_error():
    with pytest.raises(DataError, match="at least 11"):
        ms_ssim(torch.ones(1, 1, 10, 10), torch.ones(1, 1, 10, 10))
