"""Trains candidate generators for so many seconds of the processor and measures what they draw, beside real slices.

    python -m benchmarks.quality --project DIR                                   # its generators, 100 and 400 s, two seeds
    python -m benchmarks.quality --project DIR --generators ddpm --seconds 100 --seeds 1 --set ddpm.train.optimiser=muon

The project has a cohort and a segmenter trained on real slices; it is only read. A candidate is what its params.yaml says of a
generator, with the changes of ``--set``. It trains on one thread: steps are timed first, so that a cosine schedule ends as the
seconds do, and a generator of latents spends half of them on its autoencoder. It then draws for masks of training patients and
for masks of test patients, which it has not seen. Each row goes to ``--out`` as soon as it is measured; docs/quality.md says
what the figures mean.
"""

import argparse
import contextlib
import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.harness import machine
from benchmarks.yardstick import Project, Yardstick, images_of, linear_errors
from cmr.errors import DataError
from cmr.files import whole_file
from evaluation.networks.inception import InceptionFeatures
from mlops.settings import check, generator_config, load_params, lookup
from models.base import Generator
from models.config import GeneratorTrainSettings, ImageSamplingSettings, TrainSettings
from models.data import SliceBatches
from models.registry import generator_class
from models.train import Loss, train
from models.vqvae import VQVAE, AutoencoderSettings
from pipelines.train_generator import augmented, loss_of

OUT = Path("benchmarks/quality.json")
WARM, TIMED = 2, 4  # training steps that are not timed, and that are
FEWEST = 10  # training steps, however slow they are


def main() -> None:
    """Prints and writes a row a training; see the module."""
    given = arguments()
    torch.set_num_threads(1)
    with contextlib.chdir(given.project):
        params = load_params()
        for change in given.set:
            apply(params, change)
        project = Project.open(params)
    names = given.generators or lookup(params, "generators.names")
    yardstick, rows = Yardstick(project, InceptionFeatures(), given.images), []
    for name in names:
        for seconds in given.seconds:
            for seed in given.seeds:
                rows.append({**about(given), **candidate(name, params, project, yardstick, seconds, seed)})
                with whole_file(given.out) as temporary:
                    temporary.write_text(json.dumps(rows, indent=1) + "\n")
                Console(width=None if Console().is_terminal else 170).print(table(rows[-1:]))
    print(f"Wrote {given.out}")


def arguments() -> argparse.Namespace:
    """The command line."""

    def numbers(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
        return lambda text: [kind(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, required=True, help="a finished project")
    parser.add_argument("--generators", type=numbers(str), help="such as ddpm,fm; all of the project where it is left out")
    parser.add_argument("--seconds", type=numbers(float), default=[100.0, 400.0], help="of the processor, for the training")
    parser.add_argument("--seeds", type=numbers(int), default=[1, 2])
    parser.add_argument("--images", type=int, default=64, help="drawn for the masks of training patients, and of test patients")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change of params.yaml")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    given.project, given.out = given.project.resolve(), given.out.resolve()
    return given


def about(given: argparse.Namespace) -> dict[str, Any]:
    return {"project": given.project.name, "set": given.set, "machine": machine()}


def apply(params: dict[str, Any], change: str) -> None:
    """Sets ``dotted.key=value``, the value in YAML; a key that is not in params.yaml is judged where it is used."""
    key, equals, text = change.partition("=")
    *parents, last = key.split(".")
    block = lookup(params, ".".join(parents)) if parents else params
    if not equals or not isinstance(block, dict):
        raise DataError(f"--set {change}: expected KEY=VALUE, such as --set ddpm.train.batch=8.")
    try:
        block[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"--set {change}: '{text}' is not readable as a YAML value.") from error


# ---- Training


def candidate(
    name: str, params: dict[str, Any], project: Project, yardstick: Yardstick, seconds: float, seed: int
) -> dict[str, Any]:
    """The row of one training."""
    network, spent = trained(name, params, project, seconds, seed)
    sampling = check(lookup(params, f"{name}.sampling"), ImageSamplingSettings, f"{name}.sampling")
    found = {mask_source: yardstick.measure(network, sampling, mask_source, seed) for mask_source in ("train", "test")}
    return {
        "generator": name,
        "seconds": seconds,
        "seed": seed,
        "sampling": asdict(sampling),
        "training": spent,
        "linear": linear_errors(network, project),
        "floor": yardstick.floor,
        "masks": found,
    }


def trained(name: str, params: dict[str, Any], project: Project, seconds: float, seed: int) -> tuple[Generator, dict[str, Any]]:
    """A generator after so many seconds of the processor, and what they were spent on; the timing of steps is not counted."""
    config = generator_config(params, name)
    settings = check(lookup(params, f"{name}.train"), GeneratorTrainSettings, f"{name}.train")
    torch.manual_seed(seed)
    network: Generator = generator_class(name)(config)
    spent: dict[str, Any] = {"parameters": sum(weight.numel() for weight in network.parameters() if weight.requires_grad)}
    before = 0.0
    autoencoder: VQVAE | None = None
    if getattr(config, "autoencoder", None) is not None:
        block = check(lookup(params, f"{name}.autoencoder"), AutoencoderSettings, f"{name}.autoencoder")
        autoencoder = VQVAE(block.network)
        spent["autoencoder_steps"], before = fit(autoencoder, autoencoder.loss, block.train, project, seconds / 2, seed)
    began = time.process_time()
    if autoencoder is not None:
        network.adopt(autoencoder, images_of(project.training))
    if (gaussian := getattr(config, "gaussian", None)) is not None:
        network.fit_gaussian(*augmented(project.training, gaussian.slices, project.augment, seed))
    before += time.process_time() - began
    spent["steps"], took = fit(network, loss_of(network, settings), settings, project, seconds - before, seed)
    return network.eval(), {**spent, "before_seconds": round(before, 1), "seconds": round(before + took, 1)}


def fit(
    network: nn.Module, loss: Loss, settings: TrainSettings, project: Project, seconds: float, seed: int
) -> tuple[int, float]:
    """Trains a network in place for about so many seconds, and leaves it with the average of its weights.

    Returns:
        The steps, and the seconds that they took.
    """
    images, masks = project.training.images, project.training.masks
    batches = SliceBatches(images, masks, batch=settings.batch, augment=project.augment, seed=seed)
    untrained = copy.deepcopy(network.state_dict())

    def take(steps: int) -> float:
        network.load_state_dict(untrained)
        limits = replace(settings, epochs=None, max_steps=steps, checkpoint_seconds=math.inf)
        with TemporaryDirectory(prefix="syncmri-benchmark-") as folder:
            began = time.process_time()
            result = train(network, loss, batches, limits, seed=seed, state=Path(folder) / "state.pt")
            took = time.process_time() - began
        network.load_state_dict(result.weights)
        return took

    take(WARM)  # the first steps of a process are slower
    fewer, more = take(WARM), take(WARM + TIMED)
    steps = max(FEWEST, int(seconds / max(1e-4, (more - fewer) / TIMED)))
    return steps, take(steps)


# ---- For people


def table(rows: list[dict[str, Any]]) -> Table:
    """A line for each source of masks, the floor below."""
    shown = Table(
        box=box.SIMPLE_HEAD, caption="KID, FID and segmenter-Fréchet: lower is better, the floor is that of real slices"
    )
    headings = (
        "candidate",
        "masks",
        "KID",
        "FID",
        "seg. Fréchet",
        "adherence (real)",
        "spectrum / real",
        "nearest train / hold-out",
    )
    for heading in (*headings, "s an image"):
        shown.add_column(heading, justify="left" if heading in headings[:2] else "right")
    for row in rows:
        spent, floor = row["training"], row["floor"]
        name = f"{row['generator']}, seed {row['seed']}, {spent['seconds']:.0f} s, {spent['steps']} steps"
        for source, of in row["masks"].items():
            adherence = f"{of['adherence']:.3f} ({of['adherence_real']:.3f})"
            bands = " ".join(f"{ratio:.2f}" for ratio in of["spectrum"])
            shown.add_row(name, source, *distances(of), adherence, bands, nearest(of), f"{of['seconds_per_image']:.3f}")
            name = ""
        shown.add_row("real slices", "test", *distances(floor), "", "", nearest(floor), "")
    return shown


def distances(of: dict[str, Any]) -> tuple[str, str, str]:
    return f"{of['kid']:.3f}", f"{of['fid']:.0f}", f"{of['segmenter_frechet']:.2f}"


def nearest(of: dict[str, Any]) -> str:
    return f"{of['nearest']['training']:.3f} / {of['nearest']['holdout']:.3f}"


if __name__ == "__main__":
    main()
