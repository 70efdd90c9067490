import numpy as np
import pytest
import torch

from cmr.errors import DataError
from evaluation.fidelity.kernel import kid, kid_over_rows


def features(images, seed, width=16):
    return np.random.default_rng(seed).normal(size=(images, width))


def test_the_formula_by_hand():
    """One feature: k(x, y) = (xy + 1)³; 0 and 1 against 2 and 3."""
    within, against = 1 + 7**3, (1 + 1 + 3**3 + 4**3) / 4
    assert kid([[0.0], [1.0]], [[2.0], [3.0]]) == pytest.approx(within - 2 * against)


def test_two_samples_of_one_kind_have_zero_on_average_and_so_negative_values():
    values = np.array([kid(features(30, seed), features(30, 1000 + seed)) for seed in range(200)])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(200)
    assert (values < 0).any()


def test_another_kind_is_far_away():
    assert kid(features(60, 0), features(60, 1) + 1) > 10 * abs(kid(features(60, 0), features(60, 1)))


def torch_fidelitys(first, second, size, subsets):
    from torch_fidelity.metric_kid import kid_features_to_metric  # after evaluation's shim

    found = kid_features_to_metric(
        torch.from_numpy(first), torch.from_numpy(second), kid_subset_size=size, kid_subsets=subsets, rng_seed=0, verbose=False
    )
    return found["kernel_inception_distance_mean"], found["kernel_inception_distance_std"]


def test_agrees_with_torch_fidelity_whose_subset_is_everything():
    first, second = features(50, 0), features(50, 1) + 0.2
    assert kid(first, second) == pytest.approx(torch_fidelitys(first, second, 50, 1)[0], rel=1e-10)


def test_is_what_the_mean_over_torch_fidelitys_subsets_tends_to():
    first, second = features(80, 0), features(80, 1) + 0.2
    mean, deviation = torch_fidelitys(first, second, 40, 1000)
    assert kid(first, second) == pytest.approx(mean, abs=4 * deviation / np.sqrt(1000))


def test_rows_left_out_are_as_if_they_had_never_been_there():
    first, second = features(30, 0), features(25, 1) + 1
    kept = np.arange(30) % 3 > 0, np.arange(25) % 4 > 0
    assert kid_over_rows(first, second)(*kept) == pytest.approx(kid(first[kept[0]], second[kept[1]]))
    assert np.isnan(kid_over_rows(first, second)(kept[0], np.arange(25) < 1))


def test_unusable_input_is_an_error():
    with pytest.raises(DataError, match="at least 2 a side"):
        kid(features(10, 0), features(1, 0))
    with pytest.raises(DataError, match="from one network"):
        kid(features(10, 0), features(10, 0, width=3))
