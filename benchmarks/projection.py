"""What the paper's protocol costs on 1, 8 and 64 GPUs: makes the tables of docs/scaling.md, which explains the model.

    python -m benchmarks.projection            # prints them
    python -m benchmarks.projection --write    # into docs/scaling.md

It reads the profile, the sizes of its networks (`syncmri models --profile paper`), and what their steps were measured to take
(benchmarks/steps.json). What is assumed stands in capitals below.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.steps import STEPS
from mlops.profiles import merged
from mlops.settings import check, find_root, lookup, resolve, sections
from mlops.sizes import network_costs
from models.config import TrainSettings
from models.train import total_steps

GPUS = (1, 8, 64)

RATE = 60e12  # operations a second that one GPU does of the network it suits best, in mixed precision
LAUNCH = 8e-6  # seconds a GPU needs to be told an operation, however small
BANDWIDTH = 10e9  # bytes a second between two GPUs: a network of 100 Gbit/s, or PCIe 4 at half its rate
LATENCY = 30e-6  # seconds of a message between them
BUCKET = 25e6  # bytes of gradients a message round: PyTorch's default
BACKWARD = 2 / 3  # share of a step's arithmetic during which gradients travel

SLICES = 20  # of a patient: two phases of some ten slices
PATIENTS = {"acdc": 100, "mnms": 150, "test": 136}  # ACDC training, M&Ms training, M&Ms testing


@dataclass(frozen=True)
class Network:
    """A network on one GPU.

    Attributes:
        fixed, per_slice: seconds of a training step, whatever the batch, and for each of its slices.
        least: seconds below which no training step falls, since its operations are told one by one.
        gradients: bytes.
        sampling: seconds of a sampling step for each image.
    """

    fixed: float
    per_slice: float
    least: float
    gradients: float
    sampling: float

    def step(self, batch: int, workers: int) -> float:
        """Seconds of a training step that so many workers share: the arithmetic, and what of the exchange it cannot hide."""
        compute = max(self.fixed + self.per_slice * math.ceil(batch / workers), self.least)
        return compute + max(0.0, self.exchange(workers) - BACKWARD * compute)

    def exchange(self, workers: int) -> float:
        """Seconds of a ring all-reduce of the gradients."""
        rounds = 2 * (workers - 1)
        return rounds / workers * self.gradients / BANDWIDTH + rounds * LATENCY * math.ceil(self.gradients / BUCKET)


@dataclass(frozen=True)
class Training:
    """So many steps with so large a batch; 1 to ``batch`` workers may share it."""

    network: Network
    steps: int
    batch: int

    def seconds(self, workers: int) -> float:
        return self.steps * self.network.step(self.batch, workers)


@dataclass(frozen=True)
class Phase:
    """What may run side by side. ``drawing``: GPU seconds of sampling, which any number of GPUs share."""

    name: str
    trainings: Sequence[Training]
    drawing: float = 0.0

    def seconds(self, gpus: int) -> tuple[float, int]:
        """Seconds on so many GPUs, and most workers a training: the longest gets twice as many as long as that helps.

        No order of the parts is faster than the longest of them, nor than all of them spread evenly; one close to that exists.
        """
        workers, tried = [1] * len(self.trainings), []
        while True:
            times = [one.seconds(n) for one, n in zip(self.trainings, workers, strict=True)]
            area = (sum(t * n for t, n in zip(times, workers, strict=True)) + self.drawing) / gpus
            tried.append((max([area, *times]), max(workers, default=1)))
            longest = times.index(max(times)) if times else None
            if longest is None or 2 * workers[longest] > min(gpus, self.trainings[longest].batch):
                return min(tried)
            workers[longest] *= 2


def main() -> None:
    """Prints or writes the tables; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into docs/scaling.md")
    text = tables(find_root())
    if parser.parse_args().write:
        page.write(page.SCALING, "projection.py", text)
    else:
        print(text)


def tables(root: Path) -> str:
    """Both tables in Markdown."""
    measured = json.loads((root / STEPS).read_text())
    params = merged(root, measured["profile"])
    found, plan = networks(params, measured), protocol(params, measured)
    lines = ["| one training step | 1 worker | 2 | 4 | 8 | gradients |", "|---|---|---|---|---|---|"]
    for name, network in found.items():
        batch = measured["networks"][name]["batch"]
        alone, counts = network.step(batch, 1), (2, 4, 8)
        shares = [f"{alone / network.step(batch, n):.1f} ×" for n in counts if n <= batch]
        lines.append(f"| `{name}` | {1000 * alone:.0f} ms | {' | '.join(shares)} | {network.gradients / 1e6:.0f} MB |")
    lines += ["", f"| the protocol | {' | '.join(f'{n} GPU' + 's' * (n > 1) for n in GPUS)} |", "|---|" + "---|" * len(GPUS)]
    spent = [[phase.seconds(n) for n in GPUS] for phase in plan]
    for phase, times in zip(plan, spent, strict=True):
        cells = [f"{hours(s)} h" + (f" ({workers} workers)" if workers > 1 else "") for s, workers in times]
        lines.append(f"| {phase.name} | {' | '.join(cells)} |")
    sums = [sum(seconds for seconds, _ in column) for column in zip(*spent, strict=True)]
    lines.append(f"| **all** | {' | '.join(f'**{hours(s)} h**' for s in sums)} |")
    lines.append(f"| times as fast as one | {' | '.join(f'{sums[0] / s:.1f}' for s in sums)} |")
    return "\n".join(lines)


def hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g}"


def networks(params: dict[str, Any], measured: dict[str, Any]) -> dict[str, Network]:
    """Every network on the GPU that is assumed, or on the one that was measured.

    Times of a CPU are scaled all alike: the network that does most operations a second there does ``RATE`` on a GPU.
    """
    costs, seen = network_costs(params), measured["networks"]
    fastest = max(6 * one["macs"] * one["batch"] / one["train_seconds"][str(one["batch"])] for one in seen.values())
    scale, launch = (1.0, 0.0) if measured["cuda"] else (fastest / RATE, LAUNCH)
    found = {}
    for name, one in seen.items():
        first, whole, batch = one["train_seconds"]["1"], one["train_seconds"][str(one["batch"])], one["batch"]
        per_slice = max(0.0, whole - first) / max(1, batch - 1)
        micro_batch = lookup(params, f"{name}.sampling.micro_batch") if "sample_seconds" in one else 1
        found[name] = Network(
            fixed=scale * max(0.0, first - per_slice),
            per_slice=scale * per_slice,
            least=launch * one["train_operations"],
            gradients=4 * costs[name].parameters,
            sampling=max(
                scale * one.get("sample_seconds", 0.0) / batch, launch * one.get("sample_operations", 0) / micro_batch
            ),
        )
    return found


def protocol(params: dict[str, Any], measured: dict[str, Any]) -> list[Phase]:
    """The pipeline of the profile as phases, each after those before it."""
    known, found = sections(params), networks(params, measured)
    generators, setups = lookup(params, "generators.names"), lookup(params, "utility.setups")
    autoencoders = [name for name in found if name.endswith(".autoencoder")]
    real = [setup for setup in setups if setup.endswith("-real")]
    control = lookup(params, "privacy.control")
    own = round(SLICES * PATIENTS[lookup(params, "generators.train_on")[0]] * (1 - lookup(params, "privacy.holdout.share")))
    drawn = {"full": own, "mnms": own, "acdc": SLICES * PATIENTS["acdc"], "test": SLICES * PATIENTS["test"]}
    drawings = [(name, drawn[source]) for name in generators for source in lookup(params, "generators.sources")]

    def trained(name: str, steps: int | None = None) -> Training:
        owner, _, part = name.partition(".")
        key = f"{owner}.{part or 'train'}"
        block = check(lookup(params, key), resolve(known[key]), key)
        settings: TrainSettings = block.train if part else block
        return Training(found[name], steps or total_steps(settings, own // settings.batch), settings.batch)

    def drawing(name: str, count: int) -> float:
        return count * lookup(params, f"{name}.sampling.steps") * found[name].sampling

    first = ["masks", *autoencoders, *["segmenter"] * len(real)]
    controls = [trained(name, control["max_steps"]) for name in generators]
    return [
        Phase("mask model, autoencoder, real segmenters", [trained("masks", control["mask_steps"]), *map(trained, first)]),
        Phase("generators, controls, masks drawn", [*map(trained, generators), *controls], drawing("masks", own)),
        Phase("images drawn", [], sum(drawing(name, count) for name, count in drawings)),
        Phase("synthetic segmenters", [trained("segmenter")] * (len(setups) - len(real))),
    ]


if __name__ == "__main__":
    main()
