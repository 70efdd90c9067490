"""Times one training step and one sampling step of every network of a profile on the device at hand; writes steps.json.

    python -m benchmarks.steps                                               # the paper's networks: minutes on two cores
    python -m benchmarks.steps --profile demo --repeats 1 --out look.json    # a look

Training steps are those of the loop itself, optimiser and average included, at the profile's batch and with one slice; a
sampling step is the difference of two drawings. The slices are random: no step depends on what they show. Beside the seconds
stand the operations of a step, which a GPU is told one by one. benchmarks/projection.py reads the file.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mlops.profiles import merged
from mlops.settings import check, find_root, generator_config, lookup, resolve, sections
from mlops.sizes import network_costs
from models.config import SamplingSettings, TrainSettings
from models.data import SliceBatches, one_hot
from models.device import pick_device
from models.registry import generator_class, mask_model
from models.segmenter import Segmenter
from models.train import Loss, train
from models.vqvae import VQVAE
from pipelines.train_generator import loss_of

STEPS = Path("benchmarks/steps.json")
FEW, MORE = 1, 3  # sampling steps of the two drawings


@dataclass(frozen=True)
class Subject:
    """A network to time: its loss, and how so many images are drawn in so many steps, if it draws any."""

    network: nn.Module
    loss: Loss
    train: TrainSettings
    sampling: SamplingSettings | None = None
    draw: Callable[[int, int], object] | None = None


def main() -> None:
    """Writes the file; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="paper", help="a name in profiles/")
    parser.add_argument("--repeats", type=int, default=3, help="steps timed of each kind; the median counts")
    parser.add_argument("--out", type=Path, default=STEPS)
    given = parser.parse_args()
    params = merged(find_root(), given.profile)
    costs, device, found = network_costs(params), pick_device(), {}
    for name, subject in subjects(params, device):
        found[name] = {"macs": costs[name].macs, **timed(subject, params["slices"]["size"], device, given.repeats)}
        print(f"{name}: {found[name]}", flush=True)
    about = {"profile": given.profile, "device": device_name(device), "cuda": device.type == "cuda", "repeats": given.repeats}
    given.out.write_text(json.dumps({**about, "networks": found}, indent=1) + "\n")
    print(f"Wrote {given.out}")


def subjects(params: dict[str, Any], device: torch.device) -> Iterator[tuple[str, Subject]]:
    """Every network of ``params``, made when it is its turn."""
    known, size = sections(params), params["slices"]["size"]

    def of(key: str) -> Any:
        return check(lookup(params, key), resolve(known[key]), key)

    masks, sampling = mask_model(of("masks.network")).to(device), of("masks.sampling")

    def draw_masks(count: int, steps: int) -> object:
        return masks.sample(size, range(count), sampler=sampling.sampler, steps=steps, precision=sampling.precision)

    yield "masks", Subject(masks, lambda _, m, randoms: masks.loss(m, randoms), of("masks.train"), sampling, draw_masks)
    for name in of("generators").names:
        config = generator_config(params, name)
        if (settings := of(f"{name}.autoencoder")) is not None:
            autoencoder = VQVAE(settings.network).to(device)
            yield f"{name}.autoencoder", Subject(autoencoder, autoencoder.loss, settings.train)
        yield name, generator(generator_class(name)(config).to(device), of(f"{name}.train"), of(f"{name}.sampling"), size)
    segmenter = Segmenter(of("segmenter.network")).to(device)
    yield "segmenter", Subject(segmenter, lambda images, m, _: segmenter.loss(images, m), of("segmenter.train"))


def generator(network: Any, settings: Any, sampling: Any, size: int) -> Subject:
    """A generator, and how it draws."""

    def draw(count: int, steps: int) -> object:
        masks = one_hot(torch.zeros(count, size, size)).to(next(network.parameters()).device)
        how = {"sampler": sampling.sampler, "guidance": sampling.guidance, "precision": sampling.precision}
        return network.sample(masks, range(count), steps=steps, **how)

    return Subject(network, loss_of(network, settings), settings, sampling, draw)


def timed(subject: Subject, size: int, device: torch.device, repeats: int) -> dict[str, Any]:
    """Seconds and operations of a training step of the whole batch, of one slice, and of a sampling step of a batch."""
    batch = subject.train.batch
    clocks = {rows: clock_steps(subject, size, rows, repeats + 1) for rows in (1, batch)}
    one, two = (counted(lambda n=n: clock_steps(subject, size, 1, n)) for n in (1, 2))
    found: dict[str, Any] = {
        "batch": batch,
        "train_seconds": {rows: float(np.median(np.diff(clock))) for rows, clock in clocks.items()},
        "train_operations": two - one,
    }
    if subject.draw is not None:
        draw, steps = subject.draw, MORE - FEW
        few, more = ([seconds(lambda n=n: draw(batch, n), device) for _ in range(repeats)] for n in (FEW, MORE))
        found |= {
            "sample_seconds": max(0.0, float(np.median(more) - np.median(few))) / steps,
            "sample_operations": (counted(lambda: draw(1, MORE)) - counted(lambda: draw(1, FEW))) // steps,
        }
    return found


def clock_steps(subject: Subject, size: int, rows: int, steps: int) -> list[float]:
    """When each of ``steps`` steps with ``rows`` slices had ended; the first one also warms up."""
    rng = np.random.default_rng(0)
    images, masks = rng.uniform(-1, 1, (rows, size, size)), rng.integers(4, size=(rows, size, size))
    settings = replace(subject.train, epochs=None, max_steps=steps, batch=rows, checkpoint_seconds=float("inf"))
    ends: list[float] = []
    with TemporaryDirectory(prefix="syncmri-benchmark-") as folder:
        train(
            subject.network,
            subject.loss,
            SliceBatches(images, masks, batch=rows, augment=None, seed=0),
            settings,
            seed=0,
            state=Path(folder) / "state.pt",
            on_epoch=lambda _: ends.append(time.perf_counter()),  # told after each step, whose loss it has read
        )
    return ends


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """What ``work`` takes."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def counted(work: Callable[[], object]) -> int:
    """Operations that compute something, backward pass included."""
    counter = _Operations()
    with counter:
        work()
    return counter.count


class _Operations(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
