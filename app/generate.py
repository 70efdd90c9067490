"""``syncmri generate``: a synthetic set from approved models, in a format of choice, with its datasheet."""

from pathlib import Path
from typing import Annotated

import typer


def generate(
    model: Annotated[str, typer.Option(metavar="GEN", help="The generator, such as ddpm; its approved version is used.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    count: Annotated[
        int | None,
        typer.Option("-n", "--count", min=1, help="Images; one a given mask, or 100, unless said.", show_default=False),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR|STORE",
            help="Draw for these masks (NIfTI or PNG; 1 LV, 2 MYO, 3 RV) instead of masks of the approved mask model.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Draw for masks of this dataset's training patients.", show_default=False),
    ] = None,
    format: Annotated[str, typer.Option(metavar="FORMAT", help="store, nifti (ACDC's layout), nnunet or png.")] = "store",
    seed: Annotated[int, typer.Option(help="The same seed gives the same set.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of the sampler, if not those of the model's figures.", show_default=False)
    ] = None,
) -> None:
    """Write a synthetic data set: images, masks and a datasheet.

    Every image is compared with the slices that the model was trained on; near-copies are withheld, drawn again and counted.
    """
    from app.export.make import Request, make_set
    from mlops.settings import find_root

    made = make_set(find_root(), Request(model, out, count, masks, dataset, format, seed, steps))
    typer.echo(
        f"{made.count} images in {out}, drawn by {made.model}; withheld as near-copies: {made.images_withheld} images"
        + (f", {made.masks_withheld} masks" if made.masks_withheld is not None else "")
        + f". What they are: {out / 'datasheet.md'}"
    )
