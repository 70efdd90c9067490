"""The mask DDPM."""

import torch
from torch import nn

from models.data import one_hot
from models.one_hot import MaskDDPM, MaskNetwork
from tests.models.conftest import LINEAR


def test_the_papers_network_has_attention_at_the_two_deepest_levels():
    with torch.device("meta"):
        network = MaskDDPM(MaskNetwork("one_hot", (64, 128, 256, 512), 2, (False, False, True, True), 32, 32, LINEAR))
    kinds = [type(block).__name__ for block in network.unet.down_blocks]
    assert ["Attn" in kind for kind in kinds] == [False, False, True, True]
    assert [len(block.resnets) for block in network.unet.down_blocks] == [2, 2, 2, 2]
    assert network.unet.conv_in.conv.in_channels == network.unet.out[-1].conv.out_channels == 4


def test_attention_that_forms_no_matrix_of_pairs_computes_what_one_with_it_does(mask_network):
    network = MaskDDPM(mask_network)
    for parameter in network.parameters():  # the last layer begins at zero
        torch.nn.init.normal_(parameter, std=0.1)
    blocks = [module for module in network.modules() if hasattr(module, "use_flash_attention")]
    assert blocks
    assert all(block.use_flash_attention for block in blocks)
    x, t = torch.randn(2, 4, 16, 16), torch.tensor([3, 800])

    def output_and_gradient():
        y = network.unet(x, t)
        return y.detach(), nn.utils.parameters_to_vector(torch.autograd.grad(y.square().mean(), list(network.parameters())))

    fast = output_and_gradient()
    for block in blocks:
        block.use_flash_attention = False
    for ours, plain in zip(fast, output_and_gradient(), strict=True):
        assert (ours - plain).norm() < 1e-5 * plain.norm()


def test_samples_are_label_maps_independent_of_the_batch(mask_network):
    torch.manual_seed(0)
    network = MaskDDPM(mask_network).eval()
    whole = network.sample(16, [1, 2, 3], sampler="ddpm", steps=5)
    assert whole.dtype == torch.uint8
    assert whole.shape == (3, 16, 16)
    assert whole.max() <= 3
    assert torch.equal(network.sample(16, [2], sampler="ddpm", steps=5)[0], whole[1])


def test_the_clean_mask_is_scaled_to_plus_and_minus_one(mask_network):
    """At time 0 next to no noise is added, so what the network sees is the mask itself."""
    network = MaskDDPM(mask_network)
    seen = []
    network.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    masks = one_hot(torch.randint(0, 4, (2, 16, 16)))
    network.denoising_error(masks, torch.zeros(2, dtype=torch.long), torch.zeros(2, 4, 16, 16))
    assert torch.allclose(seen[0], 2 * masks - 1, atol=1e-3)
