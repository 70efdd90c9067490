import numpy as np
import pytest

from evaluation.utility.surface import asd, boundary_distances, hd95

Z, Y, X = np.mgrid[:12, :40, :40]


def ball(radius, centre=(6, 20, 20), spacing=(1.0, 1.0, 1.0)):
    squares = sum(((axis - at) * size) ** 2 for axis, at, size in zip((Z, Y, X), centre, spacing, strict=True))
    return squares <= radius**2


def test_identical_masks_have_no_distance():
    assert boundary_distances(ball(5), ball(5), (10.0, 1.25, 1.25)) == (0, 0)


def test_parallel_planes_are_their_distance_apart():
    first, second = np.zeros((2, 20, 30, 30), dtype=bool)
    first[:, 5], second[:, 9] = True, True
    assert boundary_distances(first, second, (8.0, 1.25, 2.0)) == pytest.approx((5.0, 5.0))


def test_concentric_spheres_in_anisotropic_voxels():
    z, y, x = np.mgrid[:21, :60, :60]
    radius = np.sqrt(((z - 10) * 2.0) ** 2 + (y - 30) ** 2 + (x - 30) ** 2)
    inner, outer = radius <= 12, radius <= 18
    assert hd95(inner, outer, (2.0, 1.0, 1.0)) == pytest.approx(6, abs=1)
    assert asd(inner, outer, (2.0, 1.0, 1.0)) == pytest.approx(6, abs=0.6)


def test_concentric_circles():
    inner, outer = (np.hypot(Y[0] - 20, X[0] - 20) <= radius for radius in (8, 13))
    assert hd95(inner, outer, (1.5, 1.5)) == pytest.approx(7.5, abs=0.8)
    assert asd(inner, outer, (1.5, 1.5)) == pytest.approx(7.5, abs=0.4)


def test_the_worst_five_percent_do_not_count():
    line = np.zeros((200, 60), dtype=bool)
    line[:, 0] = True
    spiked = line.copy()
    spiked[100, 50] = True
    assert hd95(spiked, line, (1.0, 1.0)) == 0
    assert asd(spiked, line, (1.0, 1.0)) == pytest.approx(50 / 401)


def test_an_empty_mask_has_no_distance():
    assert np.isnan(boundary_distances(ball(5), np.zeros_like(ball(5)), (1.0, 1.0, 1.0))).all()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (10.0, 1.25, 1.25)])
def test_agrees_with_monai(spacing):
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    first, second = ball(5), ball(4, (5, 23, 18)) | ball(2, (2, 4, 4))
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (first, second)]
    options = {"include_background": True, "spacing": list(spacing)}
    assert hd95(first, second, spacing) == pytest.approx(
        compute_hausdorff_distance(*tensors, percentile=95, **options).item(), rel=1e-5
    )
    assert asd(first, second, spacing) == pytest.approx(
        compute_average_surface_distance(*tensors, symmetric=True, **options).item(), rel=1e-5
    )


def test_agrees_with_monai_on_a_background_that_fills_the_picture():
    import torch
    from monai.metrics import compute_hausdorff_distance

    first, second = ~ball(5)[6], ~ball(7, (6, 22, 20))[6]
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (first, second)]
    theirs = compute_hausdorff_distance(*tensors, percentile=95, include_background=True).item()
    assert hd95(first, second, (1.0, 1.0)) == pytest.approx(theirs)
