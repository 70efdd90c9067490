"""Stages of `benchmarks/paper_scale.py` that draw masks and images, by the networks' own samplers."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.paper.work import Work
from cmr.files import whole_file
from models.config import CheckSettings, ImageSamplingSettings, MaskSamplingSettings
from models.data import one_hot, step_seed
from models.registry import MASKS, generator_class, saved_class

FEW_STEPS = 10


def sample_masks(work: Work) -> dict[str, Any]:
    how, network = work.of(MaskSamplingSettings, "masks", "sampling"), work.network(MASKS, saved_class(work.out / MASKS, MASKS))
    size = work.train.masks.shape[-1]
    if work.given.few_steps:
        how = replace(how, steps=min(how.steps, FEW_STEPS))

    def draw(rows: range) -> NDArray[np.uint8]:
        seeds = [step_seed(work.seed, row) for row in rows]
        return network.sample(size, seeds, sampler=how.sampler, steps=how.steps, precision=how.precision).cpu().numpy()

    return _draw_all(work, "sample-masks", draw, how.micro_batch) | {"sampler": how.sampler, "network_steps": how.steps}


def sample_images(work: Work, name: str, source: str) -> dict[str, Any]:
    how = work.of(ImageSamplingSettings, "generators", name, "sampling")
    check = work.of(CheckSettings, "generators", name, "validation")
    if work.given.few_steps:
        how = replace(how, sampler=check.sampler, steps=check.steps)
    network, masks = work.network(name, generator_class(name)), work.masks_of(source)

    def draw(rows: range) -> NDArray[np.float16]:
        given = one_hot(torch.from_numpy(masks[rows.start : rows.stop])).to(work.device)
        seeds = [step_seed(work.seed, row) for row in rows]
        options = {"sampler": how.sampler, "steps": how.steps, "guidance": how.guidance, "precision": how.precision}
        return network.sample(given, seeds, **options)[:, 0].float().cpu().numpy().astype(np.float16)

    facts = _draw_all(work, f"sample-{name}-{source}", draw, how.micro_batch)
    return facts | {"sampler": how.sampler, "network_steps": how.steps}


def _draw_all(work: Work, name: str, draw: Callable[[range], NDArray], micro_batch: int) -> dict[str, Any]:
    """Draws share after share into files, going on behind those that are there, and joins them."""
    folder = work.out / name
    shares = [range(start, min(start + micro_batch, work.count)) for start in range(0, work.count, micro_batch)]
    parts = [(folder / f"part-{rows.start:06d}.npz", rows) for rows in shares]
    for path, rows in parts:
        if not path.exists():
            work.check_time(f"{name}: {rows.start} of {work.count} drawn")
            start = time.perf_counter()
            pixels = draw(rows)
            seconds = time.perf_counter() - start
            with whole_file(path) as temporary, temporary.open("wb") as file:
                np.savez(file, pixels=pixels, seconds=seconds / len(rows))
    loaded = [np.load(path) for path, _ in parts]
    with whole_file(folder / "pixels.npy") as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate([one["pixels"] for one in loaded]))
    each = [float(one["seconds"]) for one in loaded]
    for path, _ in parts:
        path.unlink()
    return {"images": work.count, "seconds_per_image": float(np.median(each)), "micro_batch": min(micro_batch, work.count)}
