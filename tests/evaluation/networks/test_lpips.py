import lpips
import numpy as np
import pytest
import torch

from cmr.errors import DataError
from evaluation.networks.lpips import LpipsNetwork
from evaluation.networks.weights import load
from evaluation.privacy.search import patient_distances, squared_distance

SIZES = {"vgg": (499_712, 1_998_848), "alex": (31_872, 148_608)}
NAMES = {"vgg": "lpips-vgg16", "alex": "lpips-alexnet"}


@pytest.fixture(scope="module", params=["vgg", "alex"])
def network(request, needs_weights):
    needs_weights(NAMES[request.param])
    return LpipsNetwork(request.param, torch.device("cpu"))


@pytest.fixture(scope="module")
def noisy(pictures):
    noise = np.random.default_rng(0).standard_normal(pictures.shape).astype(np.float32)
    return np.clip(pictures + 0.2 * noise, -1, 1)


def distance(network, first, second):
    return network.distance(torch.from_numpy(first)[:, None], torch.from_numpy(second)[:, None]).numpy()


def test_distances_are_those_of_the_lpips_package(network, pictures, noisy):
    theirs = lpips.LPIPS(net=network.kind, pnet_rand=True, verbose=False)
    for layer in theirs.net.state_dict(keep_vars=True).items():
        layer[1].data = load(NAMES[network.kind])[f"features.{layer[0].partition('.')[2]}"]
    with torch.inference_mode():
        expected = theirs(*(torch.from_numpy(images)[:, None] for images in (pictures, noisy))).flatten().numpy()
    np.testing.assert_allclose(distance(network, pictures, noisy), expected, atol=1e-6)


def test_a_copy_has_the_distance_none_and_noise_a_large_one(network, pictures, noisy):
    assert (distance(network, pictures, pictures) == 0).all()
    assert (distance(network, pictures, noisy) > 0.2).all()


def test_squared_distances_of_features_are_lpips(network, pictures, noisy, tmp_path):
    first, second = network.features(pictures), network.features(noisy)
    assert first.dtype == np.float32
    expected = np.array([distance(network, pictures, np.roll(noisy, -shift, axis=0)) for shift in range(3)])
    found = squared_distance(first, second)
    for shift in range(3):
        np.testing.assert_allclose(found[np.arange(3), (np.arange(3) + shift) % 3], expected[shift], atol=1e-5)
    np.testing.assert_array_equal(np.diag(squared_distance(first, first)), 0)

    stored = network.features(noisy, tmp_path / "features.npy")
    assert isinstance(stored, np.memmap)
    assert stored.dtype == np.float16
    np.testing.assert_allclose(squared_distance(first, stored), found, atol=1e-4)

    nearest = patient_distances(first, second, np.array(["a", "b", "b"]), distance=squared_distance, block=2)
    np.testing.assert_allclose(nearest.nearest, [found[:, 0], found[:, 1:].min(axis=1)], atol=1e-6)


def test_features_grow_with_the_pixels(network):
    assert tuple(network.dimension(size, size) for size in (64, 128)) == SIZES[network.kind]


def test_bad_images_are_told(network, pictures):
    with pytest.raises(DataError, match="15 × 15 pixels; expected"):
        network.features(np.zeros((1, 15, 15)))
    with pytest.raises(DataError, match="not finite"):
        network.features(np.where(pictures > 0.99, np.nan, pictures))
