"""How networks are validated while they train: in micro batches, and in the precision of the training."""

from dataclasses import replace

import pytest
import torch

from cmr.errors import DataError
from models.config import CheckSettings, TrainSettings
from models.data import SliceBatches, one_hot
from models.ddpm import DDPM
from models.registry import mask_model
from models.train import train
from models.validation import drawn_images, held_loss, reconstructed
from models.vqvae import VQVAE
from tests.evaluation.hearts import hearts
from tests.models.conftest import DISTANCES, SETTINGS
from tests.models.test_train import AUTOENCODER, Slope

MASKS = one_hot(torch.from_numpy(hearts(7, seed=0, size=16)))


@pytest.fixture
def watched():
    """A network, and the batch size and type of each of its passes."""
    torch.manual_seed(0)
    network, seen = mask_model(DISTANCES).eval(), []
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    network.unet.conv_in.register_forward_hook(lambda _, inputs, output: seen.append((len(output), output.dtype)))
    return network, seen


@torch.no_grad()
def test_validation_takes_as_many_masks_at_a_time_as_the_training_and_finds_the_same(watched):
    network, seen = watched
    losses, sizes = [], []
    for batch, micro_batch in ((7, None), (7, 3), (2, None)):
        seen.clear()
        losses.append(held_loss(network, MASKS, 1, TrainSettings(**SETTINGS | {"batch": batch, "micro_batch": micro_batch})))
        sizes.append([size for size, _ in seen])
    assert sizes == [[7], [3, 3, 1], [2, 2, 2, 1]]
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-4)


@torch.no_grad()
def test_validation_has_the_precision_of_the_training(watched):
    network, seen = watched
    settings = TrainSettings(**SETTINGS)
    whole, half = (held_loss(network, MASKS, 1, replace(settings, precision=kind)) for kind in ("float32", "bf16"))
    assert {kind for _, kind in seen} == {torch.float32, torch.bfloat16}
    assert half == pytest.approx(whole, rel=0.05)
    assert half != whole


def test_drawn_images_and_reconstructions_have_the_micro_batch_and_the_precision(ddpm_network):
    torch.manual_seed(0)
    generator, autoencoder, seen = DDPM(ddpm_network).eval(), VQVAE(AUTOENCODER).eval(), []
    first = {"draw": generator.unet.conv_in, "reconstruct": autoencoder.encoder[0]}
    for layer in first.values():
        layer.register_forward_hook(lambda _, inputs, output: seen.append((len(output), output.dtype)))
    images = torch.rand(5, 1, 16, 16) * 2 - 1
    calls = {
        "draw": lambda settings: drawn_images(generator, MASKS[:5], range(5), CheckSettings("ddim", 1), settings),
        "reconstruct": lambda settings: reconstructed(autoencoder, images, settings),
    }
    for name, call in calls.items():
        found = []
        for micro_batch, precision in ((None, "float32"), (2, "float32"), (2, "bf16")):
            seen.clear()
            found.append(call(TrainSettings(**SETTINGS | {"micro_batch": micro_batch, "precision": precision})))
            whole = [5] if name == "draw" else [4, 1]  # all at once, or the training's batch
            assert [count for count, _ in seen] == (whole if micro_batch is None else [2, 2, 1])
            assert {kind for _, kind in seen} == {torch.float32 if precision == "float32" else torch.bfloat16}
        assert all(images.shape == (5, 1, 16, 16) and images.dtype == torch.float32 for images in found)
        assert (found[1] - found[0]).abs().max() < 1e-3
        assert not torch.equal(found[2], found[1])


def test_a_validation_without_enough_memory_names_the_parameter_to_lower(train_settings, tmp_path):
    network = Slope()

    def validate(_):
        return float(torch.empty(1 << 50).sum())

    batches = SliceBatches(None, hearts(4, seed=0, size=16), batch=4, augment=None, seed=0)
    settings, state = train_settings(micro_batch=3), tmp_path / "s.pt"
    with pytest.raises(DataError, match=r"lower 'ddpm\.train\.micro_batch' \(now 3\)"):
        train(network, lambda *_: network.weight.sum(), batches, settings, seed=0, state=state, validate=validate, label="ddpm")
