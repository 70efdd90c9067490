"""The VQ-VAE whose latents the latent diffusion model draws (paper, section IV-C2b).

van den Oord et al. 2017, "Neural discrete representation learning", doi:10.48550/arXiv.1711.00937, on the blocks and the
quantiser of the diffusers library.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from diffusers.models.autoencoders.vae import VectorQuantizer
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D, UpDecoderBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import TrainSettings
from models.data import Randoms


@dataclass(frozen=True)
class VQVAENetwork:
    """Shape of the encoder, which the decoder mirrors, and of the codebook."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    widths: tuple[int, ...]
    """Channels of each level, finest first."""
    strides: tuple[int, ...]
    """By how much each level shrinks the picture, after its residual blocks: 1 or 2."""
    residual_blocks: int
    """Of each level, in the encoder and again in the decoder."""
    latent_channels: int
    codebook: int
    """Number of entries."""
    commitment: float
    """Weight of the commitment loss; reconstruction and codebook loss have 1."""
    norm_groups: int

    def __post_init__(self) -> None:
        if len(self.strides) != len(self.widths) or not set(self.strides) <= {1, 2}:
            raise ValueError(
                f"autoencoder.network: strides must be 1 or 2 for each of the {len(self.widths)} widths, "
                f"found {list(self.strides)}"
            )

    @property
    def factor(self) -> int:
        """Pixels along the side of one cell of the latents."""
        return math.prod(self.strides)


class VQVAE(nn.Module):
    """Images (B, 1, H, W) in [-1, 1] to latents (B, C, H/f, W/f), and back through the nearest entries of a codebook."""

    Config = VQVAENetwork

    def __init__(self, config: VQVAENetwork):
        super().__init__()
        self.config = config
        self.encoder = _encoder(config)
        self.decoder = _decoder(config)
        self.quantiser = VectorQuantizer(config.codebook, config.latent_channels, config.commitment, legacy=False)
        # The usual start within ±1/entries, a point beside the latents, never comes apart: all latents go to the few entries
        # that are pulled out first. Here entries start as wide as the encoder's outputs do (see `_encoder`), so that each has
        # latents around it; they move with them from there on, and no state beside the weights is needed to revive any.
        nn.init.normal_(self.quantiser.embedding.weight)

    def loss(self, images: Tensor, masks: Tensor, randoms: Randoms) -> Tensor:
        """Reconstruction + codebook + commitment loss, averaged over the images of a batch; nothing in it is random.

        Reconstruction is by absolute error: squared error is content with the blurred mean of the pictures that a latent may
        stand for, and its few large errors drown those of the small contrasts within the heart.
        """
        quantised, codebook_loss, _ = self._quantise(self.encode(images))
        return F.l1_loss(self.decoder(quantised).float(), images) + codebook_loss

    def encode(self, images: Tensor) -> Tensor:
        """Latents (B, C, H/f, W/f) float32, not yet quantised."""
        return self.encoder(images).float()

    def decode(self, latents: Tensor) -> Tensor:
        """Quantises latents and makes images of them."""
        return self.decoder(self._quantise(latents)[0]).float().clamp(-1, 1)

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images as they come back from their latents."""
        return self.decode(self.encode(images))

    def codes(self, images: Tensor) -> Tensor:
        """The numbers of the codebook entries that stand for each image, (B, H/f, W/f) long."""
        return self._quantise(self.encode(images))[2]

    def usage(self, codes: Tensor) -> tuple[float, float]:
        """Share of the codebook's entries among ``codes``, and their perplexity.

        The perplexity is how many entries, used equally often, would tell as much: from 1 to the size of the codebook.
        """
        share = torch.bincount(codes.flatten(), minlength=self.config.codebook).double() / codes.numel()
        return (share > 0).double().mean().item(), torch.special.entr(share).sum().exp().item()

    def _quantise(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Nearest entries (gradients pass straight through), codebook + weighted commitment loss, and entry numbers."""
        with torch.autocast(latents.device.type, enabled=False):  # bfloat16 cannot tell neighbouring entries apart
            quantised, loss, (_, _, codes) = self.quantiser(latents)
        return quantised, loss, codes.view(len(latents), *latents.shape[2:])


def _encoder(config: VQVAENetwork) -> nn.Sequential:
    inner = config.widths[0]
    layers: list[nn.Module] = [nn.Conv2d(1, inner, 3, padding=1)]
    for width, stride in zip(config.widths, config.strides, strict=True):
        layers.append(
            DownEncoderBlock2D(
                inner,
                width,
                num_layers=config.residual_blocks,
                resnet_groups=config.norm_groups,
                add_downsample=stride == 2,
            )
        )
        inner = width
    last = nn.Conv2d(inner, config.latent_channels, 3, padding=1)
    # Latents of about unit variance, as the codebook's entries: 0.356 is the mean square of SiLU on normalised activations.
    nn.init.normal_(last.weight, std=(0.356 * last.weight[0].numel()) ** -0.5)
    return nn.Sequential(*layers, nn.GroupNorm(config.norm_groups, inner), nn.SiLU(), last)


def _decoder(config: VQVAENetwork) -> nn.Sequential:
    inner = config.widths[-1]
    layers: list[nn.Module] = [nn.Conv2d(config.latent_channels, inner, 3, padding=1)]
    for width, stride in zip(reversed(config.widths), reversed(config.strides), strict=True):
        if stride == 2:
            layers.append(Upsample2D(inner, use_conv=True, out_channels=width))
            inner = width
        layers.append(
            UpDecoderBlock2D(
                inner,
                width,
                num_layers=config.residual_blocks,
                resnet_groups=config.norm_groups,
                add_upsample=False,
            )
        )
        inner = width
    return nn.Sequential(*layers, nn.GroupNorm(config.norm_groups, inner), nn.SiLU(), nn.Conv2d(inner, 1, 3, padding=1))


@dataclass(frozen=True)
class AutoencoderSettings:
    """The VQ-VAE of a generator of latents, and how it is trained before the generator."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    network: VQVAENetwork
    train: TrainSettings


Autoencoder = AutoencoderSettings | None
"""What a generator's block says under ``autoencoder``; None for one of pixels."""
