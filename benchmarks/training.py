"""A training step of each of the paper's networks: a loop written by hand in float32 against the project's.

    python -m benchmarks.training [--quick]

The plain loop is what a careful researcher writes: float32, eager, batch 8, the gradient's norm clipped, the optimiser, a
moving average of the weights parameter by parameter. Ours is ``models.train``, batches from memory included. Slices are random:
no step depends on what they show. On a GPU the goal is that of a GPU; benchmarks/paper_scale.sh tells the share of its peak.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from benchmarks.harness import Comparison, arguments, finish, repeats, report
from benchmarks.steps import Subject, clock_steps, subjects
from mlops.profiles import merged
from mlops.settings import find_root
from models.config import Precision
from models.data import one_hot, step_randoms
from models.device import autocast, pick_device

GOALS = {"cpu": 1.3, "cuda": 4.0}
LOSS_APART, DIRECTION = 0.02, 0.98
LIMITS = {
    "cpu": "arithmetic: see docs/performance.md for what bfloat16 brings to which network, and what else was tried",
    "cuda": "see docs/performance.md",
}


def main() -> None:
    """Prints and records the figures; see the module."""
    parser = arguments(__doc__)
    parser.add_argument("--profile", default="paper", help="a name in profiles/")
    given = parser.parse_args()
    params, device = merged(find_root(), given.profile), pick_device()
    size = params["slices"]["size"]
    for name, subject in subjects(params, device):
        batch = 2 if given.quick else 8
        ours = replace(subject, train=replace(subject.train, batch=batch, micro_batch=None))
        told = agreement(name, ours, size, batch, device)
        step = plain_step(ours, size, batch, device)
        step()  # warms up
        turns = [(step(), np.diff(clock_steps(ours, size, batch, 2)).item()) for _ in range(repeats(given, usual=3, quick=1))]
        report(
            f"training step, {name}, {device.type}",
            Comparison([turn[0] for turn in turns], [turn[1] for turn in turns], told),
            goal=GOALS[device.type],
            work=f"profile {given.profile}, {batch} slices of {size} px a step, seconds a slice, "
            f"{sum(one.numel() for one in subject.network.parameters()) / 1e6:.1f} million parameters",
            limit=LIMITS[device.type],
            unit=batch,
        )
    finish(given)


def plain_step(subject: Subject, size: int, batch: int, device: torch.device) -> Callable[[], float]:
    """A call that takes one step and returns its seconds."""
    network, settings = subject.network, subject.train
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimiser]
    trained = [one for one in network.parameters() if one.requires_grad]
    optimiser = kind(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    average = copy.deepcopy(network).requires_grad_(False) if settings.ema else None
    images, masks = slices(size, batch, device)

    def step() -> float:
        start = time.perf_counter()
        network.train()
        optimiser.zero_grad()
        subject.loss(images, masks, step_randoms(0, 0, batch)).backward()
        if settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(trained, settings.gradient_clip)
        optimiser.step()
        if average is not None:
            with torch.no_grad():
                for kept, new in zip(average.parameters(), network.parameters(), strict=True):
                    kept.mul_(settings.ema).add_(new, alpha=1 - settings.ema)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return step


def agreement(name: str, subject: Subject, size: int, batch: int, device: torch.device) -> str:
    """Loss and direction of the gradient of one step, in the settings' precision and in float32; ends the program if apart."""
    (plain, first), (ours, second) = (
        gradient(subject, size, batch, device, precision) for precision in ("float32", subject.train.precision)
    )
    apart, cosine = abs(ours - plain) / abs(plain), float(nn.functional.cosine_similarity(first, second, dim=0))
    if apart > LOSS_APART or cosine < DIRECTION:
        raise SystemExit(f"{name}: losses {plain:.4g} and {ours:.4g}, cosine of the gradients {cosine:.4f}: nothing was timed")
    return f"losses {apart:.1%} apart, cosine of the gradients {cosine:.4f}"


def gradient(subject: Subject, size: int, batch: int, device: torch.device, precision: Precision) -> tuple[float, torch.Tensor]:
    """Loss, and all gradients in one row, in float64."""
    torch.manual_seed(0)
    network = subject.network.train()
    network.zero_grad(set_to_none=True)
    with autocast(device, precision):
        value = subject.loss(*slices(size, batch, device), step_randoms(0, 0, batch))
    value.backward()
    found = [one.grad.double().flatten() for one in network.parameters() if one.grad is not None]
    network.zero_grad(set_to_none=True)
    return value.item(), torch.cat(found)


def slices(size: int, batch: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 1, S, S) in [-1, 1] and one-hot masks: rings in noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] - size / 2
    masks = 3 - np.digitize(rng.uniform(0.8, 1.2, (batch, 1, 1)) * np.hypot(x, y), [size / 8, size / 5, size / 4])
    images = np.array([-0.6, 0.6, -0.2, 0.4])[masks] + rng.uniform(-0.4, 0.4, masks.shape)
    return torch.from_numpy(images.astype(np.float32))[:, None].to(device), one_hot(torch.from_numpy(masks)).to(device)


if __name__ == "__main__":
    main()
