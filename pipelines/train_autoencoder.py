"""Stage ``train_autoencoder@GEN``: the VQ-VAE whose latents a generator draws. A generator of pixels has none, and it says so.

It sees images alone, and is frozen afterwards.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmr.files import whole_folder
from mlops.settings import load_params, lookup
from pipelines.stage import run, say, write_json

if TYPE_CHECKING:
    from pipelines.training import Job

_PICTURED = 8


def main(generator: str) -> None:
    if lookup(load_params(), f"{generator}.autoencoder") is None:
        with whole_folder(Path("runs/autoencoder") / generator) as folder:
            write_json(folder / "none.json", {"reason": f"{generator} works on pixels"})
        say(f"train_autoencoder {generator}: none needed, it works on pixels")
    else:
        from pipelines.training import train_stage  # the networks: of no use, and seconds, where there is none

        train_stage("pipelines.train_autoencoder", generator)


def job(generator: str) -> "Job":
    """The training of the VQ-VAE that a generator of latents draws in."""
    import numpy as np
    import torch

    from cmr.store import SliceStore
    from mlops.settings import section
    from models.config import AugmentSettings
    from models.data import SliceBatches
    from models.device import pick_device
    from models.validation import reconstructed
    from models.vqvae import VQVAE, AutoencoderSettings
    from pipelines.pictures import save_reconstructions
    from pipelines.training import Job

    training, validation = SliceStore.open("data/cohort/train"), SliceStore.open("data/cohort/val")
    settings = section(f"{generator}.autoencoder", AutoencoderSettings)
    augment, seed = section("augment", AugmentSettings), section("seed", int)
    images = torch.from_numpy(np.array(validation.images, np.float32))[:, None]
    blocks = images.split(settings.train.micro_batch or settings.train.batch)
    device = pick_device()

    def validate(network: VQVAE) -> float:
        """Minus the mean absolute error of the validation slices."""
        return -float((reconstructed(network, images, settings.train) - images).abs().mean())

    def measure(network: VQVAE) -> dict[str, Any]:
        with torch.no_grad():
            codes = torch.cat([network.codes(block.to(device)).cpu() for block in blocks])
        error = (reconstructed(network, images, settings.train) - images).double()
        psnr = float((-10 * torch.log10((error / 2).square().mean(dim=(1, 2, 3)))).mean())
        used, perplexity = network.usage(codes)
        return {
            "codebook": {"used": used, "perplexity": perplexity},
            "reconstruction": {"l1": float(error.abs().mean()) / 2, "psnr": psnr},
        }

    def pictures(network: VQVAE, folder: Path) -> None:
        rows = np.unique(np.linspace(0, len(images) - 1, _PICTURED).astype(int))
        save_reconstructions(
            images[rows, 0].numpy(),
            reconstructed(network, images, settings.train)[rows, 0].numpy(),
            folder / "reconstructions.png",
        )

    return Job(
        name=f"autoencoder/{generator}",
        kind="autoencoder",
        build=VQVAE,
        config=settings.network,
        train=settings.train,
        batches=SliceBatches(training.images, training.masks, batch=settings.train.batch, augment=augment, seed=seed),
        stores={"data/cohort/train": training, "data/cohort/val": validation},
        params={"augment": vars(augment)},
        seed=seed,
        loss=lambda network: network.loss,
        validate=validate,
        pictures=pictures,
        measure=measure,
    )


if __name__ == "__main__":
    run(main)
