import numpy as np
import pytest
import torch

from cmr.errors import DataError
from evaluation.segmenter_features import segmenter_features
from models.segmenter import Segmenter, SegmenterNetwork, predict


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Segmenter(SegmenterNetwork((4, 8, 12)))


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(-1, 1, size=(5, 16, 24)).astype(np.float16)


def test_one_number_a_channel_of_the_deepest_level(network, images):
    found = segmenter_features(network, images)
    assert (found.shape, found.dtype) == ((5, 12), np.float64)


def test_it_is_the_mean_before_the_normalisation_of_the_deepest_level(network, images):
    seen = []
    deepest = network.unet.skip_layers.next_layer.next_layer
    deepest.norm2.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].clone()))
    found = segmenter_features(network, images)
    assert seen[0].shape == (5, 12, 4, 6)
    assert found == pytest.approx(seen[0].double().mean(dim=(2, 3)).numpy())
    assert found.std(axis=0).min() > 1e-3  # after it, the mean would be 0 for every image


def test_the_batch_changes_nothing_and_the_network_stays_as_it_was(network, images):
    before = predict(network, images, batch=5, precision="float32")
    whole = segmenter_features(network, images)
    assert segmenter_features(network, images, batch=2) == pytest.approx(whole, abs=1e-6)
    assert segmenter_features(network, images, batch=2).shape == (5, 12)  # nothing is left over from the call before
    assert np.array_equal(predict(network, images, batch=5, precision="float32"), before)


def test_no_images_have_no_features(network, images):
    assert segmenter_features(network, images[:0]).shape == (0, 12)


def test_unusable_images_are_an_error(network, images):
    images[2, 0, 0] = np.nan
    with pytest.raises(DataError, match="1 hold values that are not finite"):
        segmenter_features(network, images)
    with pytest.raises(DataError, match="16 x 22 pixels; expected multiples of 4"):
        segmenter_features(network, images[:2, :, :22])
