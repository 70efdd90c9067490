"""Drawing images and masks in few steps and mixed precision, against 1000 steps in float32.

    python -m benchmarks.sampling [--quick] [--project DIR]    # the paper's networks; quick: those of the profile real

Samplers, steps and precision of ours are those of the profile real-full. The plain way takes 1000: ancestral, of flow matching
Euler's; its seconds are those of a few steps, and a step's, the difference of two drawings, for all the others. What the
networks show plays no part in the times, so they are not trained. Whether fewer steps draw images as good is told with the
trained networks of a project, which is only read: its own sampling settings against 1000 steps for the same masks and seeds.
"""

import contextlib
import gc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness import Comparison, Result, arguments, finish, keep, repeats, report, timed, within
from cmr.store import SliceStore
from evaluation.adherence import mask_adherence
from evaluation.fidelity.unpaired import UNPAIRED, compare
from evaluation.figure import Figure
from evaluation.networks.inception import InceptionFeatures
from evaluation.statistics import IntervalSettings, bootstrap_mean
from mlops.profiles import merged
from mlops.settings import GeneratorsSettings, check, find_root, generator_config, lookup, mask_config, section
from models.base import MaskGenerator
from models.checkpoint import load_network
from models.config import ImageSamplingSettings, MaskSamplingSettings, SamplingSettings
from models.data import one_hot
from models.device import pick_device
from models.registry import generator_class, mask_model
from models.segmenter import Segmenter, predict

STEPS = 1000
FEW, MORE = 1, 3  # steps of the two drawings that the plain way is extrapolated from
BATCH = 8
IMAGES = 24  # whose quality is compared
PASSES = {"midpoint": 2, "heun": 2}  # of the network a step; one where nothing stands here
FASTER, FEWER, MOST_OF_FM = 40, 30, 20
FEW_OF_MASKS = 30

Draw = Callable[[str, int, str], object]
"""Sampler, steps and precision to a batch of images or masks."""


def main() -> None:
    """Prints and records the figures; see the module."""
    parser = arguments(__doc__)
    parser.add_argument("--project", type=Path, help="a finished project, whose networks draw in 1000 steps and in few")
    given = parser.parse_args()
    params, ours = (merged(find_root(), name) for name in ("real" if given.quick else "paper", "real-full"))
    size, turns = params["slices"]["size"], repeats(given, usual=3, quick=1)
    network, usual = mask_model(mask_config(params)).to(pick_device()).eval(), settings_of(ours, "masks", MaskSamplingSettings)
    if usual.sampler not in network.samplers:  # the two profiles have mask models of different kinds
        usual = replace(usual, sampler=network.samplers[0], steps=FEW_OF_MASKS)
    speed("masks", partial(draw_masks, network, size), usual, size, turns)
    for name in lookup(params, "generators.names"):
        made = generator_class(name)(generator_config(params, name)).to(pick_device()).eval()
        speed(name, partial(draw_images, made, size), settings_of(ours, name, ImageSamplingSettings), size, turns)
        del made
        gc.collect()
        if given.project:
            quality(given.project, name)
    finish(given)


def settings_of(params: dict[str, Any], name: str, kind: type) -> Any:
    return check(lookup(params, f"{name}.sampling"), kind, f"{name}.sampling")


def speed(name: str, draw: Draw, ours: SamplingSettings, size: int, turns: int) -> None:
    """Rows of the seconds and of the network passes."""
    sampler = "euler" if name == "fm" else "ddpm"
    passes = ours.steps * PASSES.get(ours.sampler, 1)
    draw(sampler, FEW, "float32")
    plain, quick = [], []
    for _ in range(turns):
        few, more = (timed(lambda steps=steps: draw(sampler, steps, "float32")) for steps in (FEW, MORE))
        plain.append(few + (STEPS - FEW) * max(0.0, more - few) / (MORE - FEW))
        quick.append(timed(lambda: draw(ours.sampler, ours.steps, ours.precision)))
    gain = np.median(plain) / STEPS * passes / np.median(quick)
    how = f"{ours.sampler}, {ours.steps} steps ({passes} passes), {ours.precision}, against {STEPS} steps of {sampler}, float32"
    report(
        f"sampling {name}, time",
        Comparison(plain, quick, "other samplers draw other images: the row of quality, if any, compares them", STEPS / MORE),
        goal=1 if name == "fm" else FASTER,
        work=f"seconds an image of {size} px, batch {BATCH}; {how}",
        limit=f"{STEPS / passes:.0f} times fewer passes, and a pass in this precision is {gain:.2g} times as fast here",
        unit=BATCH,
    )
    if name == "fm":
        within("sampling fm, network passes", [passes], MOST_OF_FM, "passes", work=how)
    else:
        keep(Result(f"sampling {name}, network passes", [STEPS / passes], FEWER, "", f"{STEPS}", f"{passes}", how))


@torch.no_grad()
def draw_masks(network: MaskGenerator, size: int, sampler: str, steps: int, precision: Any) -> object:
    return network.sample(size, range(BATCH), sampler=sampler, steps=steps, precision=precision)


@torch.no_grad()
def draw_images(network: Any, size: int, sampler: str, steps: int, precision: Any) -> object:
    masks = one_hot(torch.zeros(BATCH, size, size)).to(pick_device())
    return network.sample(masks, range(BATCH), sampler=sampler, steps=steps, precision=precision)


def quality(root: Path, name: str) -> None:
    """A row: which of mask adherence and KID lie within their intervals of 1000 steps, for a project's network."""
    with contextlib.chdir(root):  # settings, stores and networks are found from here; nothing is written
        ours, seed = section(f"{name}.sampling", ImageSamplingSettings), section("seed", int)
        intervals = section("evaluation", IntervalSettings)
        test = SliceStore.open("data/cohort/test")
        shown = np.flatnonzero(np.asarray(test.masks).any(axis=(1, 2)))
        chosen = test.select(shown[np.linspace(0, len(shown) - 1, min(IMAGES, len(shown))).astype(int)])
        network = load_network(Path("runs") / name, generator_class(name), pick_device())
        reader_of = section("generators", GeneratorsSettings).train_on[0]
        reader = load_network(Path("runs/segmenter") / f"{reader_of}-real", Segmenter, pick_device())
    masks, patients = np.asarray(chosen.masks), chosen.index["subject"].to_numpy(dtype=str)
    inception = InceptionFeatures()
    real = inception(np.asarray(test.images))

    def figures(sampler: str, steps: int, precision: Any, guidance: float) -> dict[str, Figure]:
        how = {"sampler": sampler, "steps": steps, "precision": precision, "guidance": guidance}
        images = drawn(network, masks, **how)
        found = {
            "mask adherence": bootstrap_mean(
                mask_adherence(predict(reader, images, batch=64), masks), patients, intervals, seed
            )
        }
        sides: dict[str, Any] = {"real_patients": test.index["subject"].to_numpy(dtype=str), "other_patients": patients}
        kid = compare(real, inception(images), **sides, intervals=intervals, seed=seed, metrics={"kid": UNPAIRED["kid"]})
        return found | {"KID": kid["kid"]}

    many = figures("euler" if name == "fm" else "ddpm", STEPS, "float32", ours.guidance)
    few = figures(ours.sampler, ours.steps, ours.precision, ours.guidance)
    held = [inside(few[one], many[one]) for one in many]
    told = "; ".join(f"{one} {said(few[one])}, of {STEPS} steps {said(many[one])}" for one in many)
    keep(
        Result(
            f"sampling {name}, quality",
            [float(np.mean(held))],
            1,
            "" if all(held) else f"outside the interval of {STEPS} steps, for better or worse: {told}",
            f"{STEPS} steps",
            f"{ours.steps} steps",
            f"share of the figures within their intervals of {STEPS} steps, {len(masks)} masks, {ours.sampler}: {told}",
        )
    )


def inside(one: Figure, of: Figure) -> bool:
    """Whether a value lies in the other's interval; not where there is none."""
    return None not in (one.value, of.ci_low, of.ci_high) and of.ci_low <= one.value <= of.ci_high


def said(one: Figure) -> str:
    if None in (one.value, one.ci_low, one.ci_high):
        return f"without an interval ({one.reason})"
    return f"{one.value:.3f} ({one.ci_low:.3f}–{one.ci_high:.3f})"


def drawn(network: Any, masks: NDArray[np.uint8], **how: Any) -> NDArray[np.float32]:
    """An image for each mask, seeds its numbers."""
    parts = []
    for start in range(0, len(masks), BATCH):
        some = torch.from_numpy(np.array(masks[start : start + BATCH]))
        parts.append(network.sample(one_hot(some).to(pick_device()), range(start, start + len(some)), **how)[:, 0].cpu())
    return torch.cat(parts).float().numpy()


if __name__ == "__main__":
    main()
