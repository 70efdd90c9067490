import numpy as np
import pytest
import torch

from cmr.errors import DataError
from evaluation.fidelity.frechet import (
    draw_patients,
    frechet_against_n,
    frechet_at_infinity,
    frechet_distance,
    frechet_over_rows,
)


def features(images, width, seed, spread=None):
    scale = np.ones(width) if spread is None else spread
    return np.random.default_rng(seed).normal(size=(images, width)) * scale


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (30, 30)], ids=["more images", "more features", "square"])
def test_equal_sets_have_none_and_a_shift_its_square(shape):
    first = features(*shape, seed=0)
    shift = np.linspace(-1, 2, shape[1])
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(first, first[::-1] + shift) == pytest.approx(shift @ shift)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_a_scale_has_its_closed_form(shape):
    """Σ₂ = s²·Σ₁ commutes with Σ₁: the distance of two centred sets is (s - 1)²·Tr Σ₁."""
    first = features(*shape, seed=0)
    first -= first.mean(axis=0)
    trace = first.var(axis=0, ddof=1).sum()
    assert frechet_distance(first, 3 * first) == pytest.approx(4 * trace)


def test_gaussians_have_the_distance_of_their_parameters():
    first, second = features(50_000, 2, 0, spread=[1, 2]), features(50_000, 2, 1, spread=[3, 1]) + np.array([1, -1])
    assert frechet_distance(first, second) == pytest.approx(1 + 1 + (1 - 3) ** 2 + (2 - 1) ** 2, rel=0.02)


def torch_fidelitys(first, second):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric  # after evaluation's shim

    statistics = [fid_features_to_statistics(torch.from_numpy(rows)) for rows in (first, second)]
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


@pytest.mark.parametrize("images", [(300, 300), (300, 150)])
def test_agrees_with_torch_fidelity(images):
    mixing = features(64, 64, seed=2)
    first = features(images[0], 64, 0, spread=np.arange(1, 65) ** -0.7) @ mixing
    second = features(images[1], 64, 1) @ mixing.T + 0.3
    assert frechet_distance(first, second) == pytest.approx(torch_fidelitys(first, second), rel=1e-6)


def test_agrees_with_torch_fidelity_with_fewer_images_than_features():
    """To its own precision: it takes roots of D - N eigenvalues that are 0 but for rounding."""
    first, second = features(40, 96, seed=0), features(40, 96, seed=1) + 0.3
    assert frechet_distance(first, second) == pytest.approx(torch_fidelitys(first, second), rel=1e-4)


def test_agrees_with_torchmetrics():
    from torchmetrics.image.fid import _compute_fid  # after evaluation's shim

    first, second = features(200, 48, seed=0), 2 * features(200, 48, seed=1) + 0.1
    moments = [torch.from_numpy(part) for rows in (first, second) for part in (rows.mean(axis=0), np.cov(rows.T))]
    assert frechet_distance(first, second) == pytest.approx(_compute_fid(*moments).item(), rel=1e-6)


def test_rows_left_out_are_as_if_they_had_never_been_there():
    first, second = features(30, 20, seed=0), features(25, 20, seed=1) + 1
    kept = np.arange(30) % 3 > 0, np.arange(25) % 4 > 0
    assert frechet_over_rows(first, second)(*kept) == pytest.approx(frechet_distance(first[kept[0]], second[kept[1]]))
    assert np.isnan(frechet_over_rows(first, second)(np.arange(30) < 1, kept[1]))


def test_the_curve_falls_with_the_number_of_images_and_its_end_is_near_the_truth():
    """Two samples of one distribution: all of the distance is bias."""
    first, second = features(1200, 8, seed=0), features(1200, 8, seed=1)
    patients = np.repeat(np.arange(300), 4)
    curve = frechet_against_n(
        first, second, first_patients=patients, second_patients=patients, sizes=[100, 200, 400, 800], repeats=5, seed=0
    )
    means = curve.groupby("n").frechet.mean()
    assert len(curve) == 20
    assert means.is_monotonic_decreasing
    assert means[100] > 0.3
    assert abs(frechet_at_infinity(curve)) < 0.1 * means[100]


def test_the_curve_ends_at_the_distance_of_all_images():
    first, second = features(40, 5, seed=0), features(40, 5, seed=1)
    patients = np.repeat(np.arange(8), 5)
    curve = frechet_against_n(
        first, second, first_patients=patients, second_patients=patients, sizes=[10, 40], repeats=1, seed=3
    )
    assert curve.frechet.iloc[-1] == pytest.approx(frechet_distance(first, second))


def test_the_curve_draws_the_same_patients_on_both_sides():
    first = features(40, 60, seed=0)
    patients = np.repeat(np.arange(8), 5)
    curve = frechet_against_n(
        first, first + 1, first_patients=patients, second_patients=patients, sizes=[10, 20], repeats=3, seed=3
    )
    assert curve.frechet.to_numpy() == pytest.approx(60)


def test_whole_patients_are_drawn():
    patients = np.repeat(["a", "b", "c", "d"], [3, 5, 2, 6])
    for seed in range(5):
        rows = draw_patients(patients, 9, seed)
        names, counts = np.unique(patients[rows], return_counts=True)
        whole = [count == np.sum(patients == name) for name, count in zip(names, counts, strict=True)]
        assert len(rows) == len(set(rows)) == 9
        assert whole.count(False) <= 1
    assert draw_patients(patients, 16, seed=0).tolist() == list(range(16))
    assert not np.array_equal(draw_patients(patients, 9, seed=0), draw_patients(patients, 9, seed=1))


def test_unusable_input_is_an_error():
    first = features(10, 4, seed=0)
    broken = first.copy()
    broken[3, 1] = np.nan
    with pytest.raises(DataError, match=r"second features: 1 rows hold values that are not finite \(first: row 3\)"):
        frechet_distance(first, broken)
    with pytest.raises(DataError, match="5 an image and 4 for first"):
        frechet_distance(first, features(10, 5, seed=0))
    with pytest.raises(DataError, match=r"shape \(10,\)"):
        frechet_distance(first[:, 0], first)
    with pytest.raises(DataError, match="at least 2"):
        frechet_distance(first, first[:1])
    names = {"first_patients": np.arange(10), "second_patients": np.arange(10)}
    with pytest.raises(DataError, match="expected sizes of 2 to 10"):
        frechet_against_n(first, first, **names, sizes=[5, 11], repeats=1, seed=0)
    curve = frechet_against_n(first, first, **names, sizes=[5], repeats=2, seed=0)
    with pytest.raises(DataError, match="fewer than 2 different"):
        frechet_at_infinity(curve)
