"""A diffusion UNet whose decoder is normalised by the mask: MONAI's, with another SPADE layer.

Only the residual blocks of the decoder have SPADE, as in MONAI and in the image generator of Park et al. The encoder and the
middle block have plain group normalisation; they see the mask because it is concatenated with the input. The paper says
"SPADE-based conditioning" and not in which blocks; its authors' code has SPADE in all of them, which is not copied here.

Park et al. 2019, "Semantic image synthesis with spatially-adaptive normalization", doi:10.48550/arXiv.1903.07291.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from models.monai_networks import SPADEDiffResBlock, SPADEDiffusionModelUNet


class SPADE(nn.Module):
    """Group normalisation with a scale and a shift for each place, read off the mask there.

    MONAI's layer normalises the scale and the shift themselves, over the image, so that a mask tells where a structure is but
    not how much of it there is, and a mask that is the same everywhere (as where none is given) becomes noise at the borders.
    """

    def __init__(self, channels: int, conditions: int, groups: int, hidden: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6, affine=False)
        # What lies beyond the border is what lies at it, not "no class at all".
        self.read = nn.Sequential(
            nn.Conv2d(conditions, hidden, 3, padding=1, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv2d(hidden, 2 * channels, 3, padding=1, padding_mode="replicate"),
        )

    def forward(self, x: Tensor, masks: Tensor) -> Tensor:
        """Features (B, C, h, w) under a mask's channels (B, conditions, H, W), which are averaged down to h × w."""
        scale, shift = self.read(F.interpolate(masks, x.shape[-2:], mode="area")).chunk(2, dim=1)
        return self.norm(x) * (1 + scale) + shift


def spade_unet(
    channels: int,
    extra: int,
    conditions: int,
    widths: tuple[int, ...],
    residual_blocks: int,
    attention: tuple[bool, ...],
    head_channels: int,
    norm_groups: int,
    spade_channels: int,
) -> SPADEDiffusionModelUNet:
    """A UNet called with (x, extra and mask (B, channels + extra + conditions, h, w), t (B,), mask (B, conditions, h, w)).

    It returns (B, channels, h, w).

    Args:
        extra: further channels beside x and the mask's ``conditions``.
        widths: of each level, finest first; each further level halves the grid.
        attention: one flag a level; between encoder and decoder there always is attention.
        spade_channels: between the mask and the scale and shift that SPADE reads off it.
    """
    unet = SPADEDiffusionModelUNet(
        spatial_dims=2,
        in_channels=channels + extra + conditions,
        out_channels=channels,
        label_nc=conditions,
        channels=widths,
        num_res_blocks=residual_blocks,
        attention_levels=attention,
        num_head_channels=head_channels,
        norm_num_groups=norm_groups,
    )
    blocks: list[Any] = [module for module in unet.modules() if isinstance(module, SPADEDiffResBlock)]
    for block in blocks:
        block.norm1 = SPADE(block.channels, conditions, norm_groups, spade_channels)
        block.norm2 = SPADE(block.out_channels, conditions, norm_groups, spade_channels)
    return unet
