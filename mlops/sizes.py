"""What every network that ``params.yaml`` describes costs: each is built, without values, and measured."""

from typing import Any

import torch
from rich import box
from rich.table import Table

from cmr.errors import DataError
from cmr.labels import CLASSES
from mlops.settings import PARAMS, check, generator_config, lookup, mask_config
from models.cost import Cost, measure, shapes_only
from models.registry import GENERATORS, generator_class, mask_model
from models.segmenter import Segmenter, SegmenterNetwork
from models.vqvae import VQVAE


def network_costs(params: dict[str, Any]) -> dict[str, Cost]:
    """The cost of one training pass of one slice of ``slices.size`` pixels, in float32, through each network.

    Args:
        params: the content of ``params.yaml``; only what shapes networks is read.

    Returns:
        By name: the mask model, each registered generator that ``params`` describes (before it its autoencoder, where it has
        one), the segmenter.

    Raises:
        DataError: a setting is missing, or no network can be built of it.
    """
    size = _size(params)
    costs: dict[str, Cost] = {}
    with shapes_only():
        image, mask, t = torch.zeros(1, 1, size, size), torch.zeros(1, CLASSES, size, size), torch.zeros(1, dtype=torch.long)
        masks = _built(mask_model, mask_config(params))
        masks_noise = torch.zeros(1, *masks.noise_shape(size))
        costs["masks"] = measure(masks, lambda: masks.denoising_error(mask, t, masks_noise))
        for name in (name for name in GENERATORS if name in params):
            config = generator_config(params, name)
            if getattr(config, "autoencoder", None) is not None:
                costs[f"{name}.autoencoder"] = _autoencoder(config.autoencoder, image, mask)
            costs[name] = _generator(name, config, image, mask, t)
        settings = check(lookup(params, "segmenter.network"), SegmenterNetwork, "segmenter.network")
        segmenter = _built(Segmenter, settings)
        costs["segmenter"] = measure(segmenter, lambda: segmenter(image))
    return costs


def cost_table(params: dict[str, Any]) -> Table:
    """:func:`network_costs` for people. A part has a row of its own where the network has more than one."""
    table = Table(
        title=f"Networks of the profile {params.get('profile')}, slices of {_size(params)} × {_size(params)} pixels",
        caption="One image, one pass, float32. MACs: multiplications, each with its addition. "
        "Activations: what a training step keeps for its backward pass.",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("Network", no_wrap=True)
    table.add_column("Class", overflow="ellipsis")  # the one to give way in a narrow window
    for heading in ("Parameters\n(M)", "MACs\n(G)", "Activations\n(MB)", "Checkpoint\n(MB)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, cost in network_costs(params).items():
        table.add_row(name, *_cells(cost))
        for part, below in cost.parts.items() if len(cost.parts) > 1 else ():
            table.add_row(f"  {part}", *_cells(below), style="dim")
    return table


def _generator(name: str, config: Any, image: torch.Tensor, mask: torch.Tensor, t: torch.Tensor) -> Cost:
    generator = _built(generator_class(name), config)
    noise = torch.zeros(1, *generator.noise_shape(image.shape[-1]))
    return measure(generator, lambda: generator.denoising_error(image, mask, t, noise))


def _autoencoder(config: Any, image: torch.Tensor, mask: torch.Tensor) -> Cost:
    autoencoder = _built(VQVAE, config)
    return measure(autoencoder, lambda: autoencoder.loss(image, mask, ()))


def _built(kind: Any, config: Any) -> Any:
    try:
        return kind(config)
    except ValueError as error:  # settings that are right one by one and do not fit together
        raise DataError(f"{PARAMS}: {error}.") from error


def _size(params: dict[str, Any]) -> int:
    return check(lookup(params, "slices.size"), int, "slices.size")


def _cells(cost: Cost) -> tuple[str, ...]:
    values = (cost.parameters / 1e6, cost.macs / 1e9, cost.activations / 1e6, cost.checkpoint / 1e6)
    return cost.kind, *(f"{value:,.2f}" for value in values)
