import numpy as np
import pytest
import torch

from cmr.errors import DataError
from evaluation.fidelity import manifold
from evaluation.fidelity.manifold import precision_over_rows, precision_recall, recall_over_rows


def features(images, seed, width=8):
    return np.random.default_rng(seed).normal(size=(images, width))


def test_copies_are_perfect_and_strangers_are_nothing():
    real = features(40, 0)
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, real + 100) == (0, 0)


def test_worked_example_on_a_line():
    """Real 0, 1, 2, 3 reach 3, 2, 2, 3, so the ground is -3 to 6; synthetic 5, 6, 7, 20 reach 15, 14, 13, 15: -10 to 35."""
    real, synthetic = np.arange(4.0)[:, None], np.array([[5.0], [6.0], [7.0], [20.0]])
    assert precision_recall(real, synthetic) == (0.5, 1)


def test_a_collapsed_generator_is_precise_and_recalls_little():
    real = features(200, 0)
    collapsed = real[:1] + 1e-3 * features(200, 1)
    precision, recall = precision_recall(real, collapsed)
    assert precision == 1
    assert recall <= 0.01


def test_a_scattered_generator_covers_all_and_is_not_precise():
    real = features(100, 0, width=2)
    precision, recall = precision_recall(real, 30 * features(100, 1, width=2))
    assert recall == 1
    assert precision < 0.2


@pytest.mark.parametrize("sizes", [(60, 60), (90, 40)])
def test_agrees_with_torch_fidelity(sizes):
    from torch_fidelity.metric_prc import prc_features_to_metric  # after evaluation's shim

    real, synthetic = features(sizes[0], 0), 0.8 * features(sizes[1], 1) + 0.3
    theirs = prc_features_to_metric(torch.from_numpy(synthetic), torch.from_numpy(real), verbose=False, save_cpu_ram=False)
    precision, recall = precision_recall(real, synthetic)
    assert 0.2 < min(precision, recall) < max(precision, recall) < 1
    assert (precision, recall) == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)


def test_the_block_changes_nothing(monkeypatch):
    real, synthetic = features(50, 0), features(30, 1)
    whole = precision_recall(real, synthetic)
    monkeypatch.setattr(manifold, "BLOCK", 7)
    assert precision_recall(real, synthetic) == whole


def test_rows_left_out_are_as_if_they_had_never_been_there():
    real, synthetic = features(30, 0), features(25, 1) + 0.5
    kept = np.arange(30) % 3 > 0, np.arange(25) % 4 > 0
    found = precision_over_rows(real, synthetic)(*kept), recall_over_rows(real, synthetic)(*kept)
    assert found == precision_recall(real[kept[0]], synthetic[kept[1]])
    assert np.isnan(precision_over_rows(real, synthetic)(np.arange(30) < 3, kept[1]))
    assert np.isnan(recall_over_rows(real, synthetic)(kept[0], np.arange(25) < 3))


def test_fewer_images_than_neighbours_are_an_error():
    with pytest.raises(DataError, match="expected at least 4"):
        precision_recall(features(3, 0), features(10, 1))
