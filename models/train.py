"""The one training loop: mask model, generators and segmenter all pass through it. Read it from top to bottom.

Whatever is random at a step (batch, augmentation, time, noise, dropout) is drawn from seeds made of the run's seed and the
step's number, what concerns one image from a seed of its own. A run that was killed and resumed therefore ends, on a CPU, with
exactly the weights of one that was not; and several processes (see :mod:`models.parallel`) end with those of one, but for
rounding.
"""

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from models.checkpoint import load_state, save_state
from models.config import TrainSettings
from models.data import Randoms, SliceBatches, step_randoms, step_seed
from models.device import autocast, memory_advice
from models.optimisers import Muon
from models.optimisers import optimiser as make_optimiser
from models.parallel import SharedLoss, Team

Loss = Callable[[Tensor | None, Tensor, Randoms], Tensor]


class TrainingDivergedError(RuntimeError):
    """The loss became infinite or not a number; the last state before that is kept."""

    lasting = True  # whoever begins such a training anew finds the same


class OutOfTimeError(RuntimeError):
    """A training's deadline came before its end; its state is written, and the same call goes on from there."""


@dataclass(frozen=True)
class Entry:
    """One epoch of the training history; ``validation`` is NaN where the network was not validated."""

    step: int
    epoch: int
    train_loss: float
    validation: float
    learning_rate: float
    seconds: float


@dataclass
class Trained:
    """What a training ends with: the weights that ``settings.keep`` names, with their step and score; the last ones where nothing
    was validated."""

    weights: dict[str, Tensor]
    history: list[Entry] = field(default_factory=list)
    best_step: int = 0
    best_score: float = -math.inf
    seconds: float = 0.0


def train(
    network: nn.Module,
    loss: Loss,
    batches: SliceBatches,
    settings: TrainSettings,
    *,
    seed: int,
    state: Path,
    validate: Callable[[Any], float] | None = None,
    on_epoch: Callable[[Entry], None] | None = None,
    deadline: float = math.inf,
    label: str = "training",
) -> Trained:
    """Trains a network in place and returns the weights to keep.

    Where this process is one of a ``torch.distributed`` group, all of them train the one network; the leader alone validates,
    writes the state and is asked ``on_epoch``, and what it returns counts.

    Args:
        network: already on its device.
        loss: maps (images or None, one-hot masks, one random source an image) to a scalar, the mean over the images.
        batches: where batches come from.
        settings: the training block of the network.
        seed: of everything random.
        state: file for resuming; read if it is there, removed by the caller when the result is safe.
        validate: scores the network as it would be kept, higher is better; the best scored weights are kept.
        on_epoch: is told each entry of the history as it is made.
        deadline: on the clock of ``time.monotonic``. After the step during which it passes, the state is written; the entry
            of the history in whose midst that falls then tells of the steps after it alone.
        label: names the network, as in ``params.yaml``, with what it is trained on behind a slash.

    Raises:
        DataError: the memory does not suffice; names the parameter to lower.
        TrainingDivergedError: when the loss is not finite.
        OutOfTimeError: the deadline has passed.
    """
    device, team = next(network.parameters()).device, Team.mine()
    total = total_steps(settings, batches.steps_per_epoch)
    validation_steps = (
        {math.ceil(total * k / settings.validations) for k in range(1, settings.validations + 1)} if validate else set()
    )
    optimiser = make_optimiser(network, settings)
    average = copy.deepcopy(network).eval().requires_grad_(False) if settings.ema else network

    result, start = Trained({}), 0
    if (saved := load_state(state)) is not None:
        result, start = _restore(saved, network, average, optimiser)
    team.agree(f"the step to go on from, by {state}", start)
    shared = SharedLoss(network, loss, team)
    clock, saved_at, seconds_before = time.monotonic(), time.monotonic(), result.seconds
    running, counted = torch.zeros((), device=device), 0

    steps = range(start, total)
    bar = tqdm(steps, label, total, initial=start, unit="step", mininterval=2, dynamic_ncols=True, disable=not team.leads)
    for step in bar:
        torch.manual_seed(step_seed(seed, step))  # dropout, which no source of an image's own reaches
        network.train()
        rate = learning_rate(settings, step, total)
        for group in optimiser.param_groups:
            group["lr"] = rate

        optimiser.zero_grad(set_to_none=True)
        with memory_advice(f"{label.split('/')[0]}.train.micro_batch", settings.micro_batch or batches.batch):
            value = _backward(shared, team, batches, step, step_randoms(seed, step, batches.batch), settings, device)
        if settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
        optimiser.step()
        if settings.ema:
            _update_average(average, network, ema_decay(settings.ema, step))
        running, counted = running + value, counted + 1

        done = step + 1
        result.seconds = seconds_before + time.monotonic() - clock
        if done % batches.steps_per_epoch == 0 or done in validation_steps or done == total:
            mean = (team.total(running) / counted).item()
            if not math.isfinite(mean):
                raise TrainingDivergedError(
                    f"{label}: the loss is {mean} at step {done} of {total}. The last good state is {state}; "
                    f"lower 'train.learning_rate' (now {settings.learning_rate}) or set 'train.gradient_clip'."
                )
            scored = validate if team.leads and done in validation_steps else None
            score = _validate(scored, average, seed, done) if scored else math.nan
            if score > result.best_score or (settings.keep == "last" and scored):
                result.best_step, result.best_score, result.weights = done, score, _copy_of(average)
            entry = Entry(done, step // batches.steps_per_epoch, mean, score, rate, round(result.seconds, 3))
            result.history.append(entry)
            running, counted = torch.zeros_like(running), 0
            bar.set_postfix_str(f"loss {mean:.4f}" + (f", best score {result.best_score:.3f}" if result.weights else ""))
            if on_epoch and team.leads:
                on_epoch(entry)
            if team.leads and time.monotonic() - saved_at >= settings.checkpoint_seconds and done < total:
                save_state(state, _snapshot(result, done, network, average, optimiser))
                saved_at = time.monotonic()
        if time.monotonic() >= deadline and done < total:
            if team.leads:
                save_state(state, _snapshot(result, done, network, average, optimiser))
            raise OutOfTimeError(f"{label}: {done} of {total} steps")
    if not result.weights:
        result.best_step, result.weights = total, _copy_of(average)
    return result


def _backward(
    loss: SharedLoss,
    team: Team,
    batches: SliceBatches,
    step: int,
    randoms: Randoms,
    settings: TrainSettings,
    device: torch.device,
) -> Tensor:
    """This process's part of the loss of one step's batch; gradients are added up over micro batches and processes."""
    images, masks = batches(step, randoms)
    own = team.rows(len(masks))
    size = settings.micro_batch or len(masks)
    value = torch.zeros((), device=device)
    for start in range(own.start, own.stop, size):
        rows = slice(start, min(start + size, own.stop))
        seen = masks[rows].to(device)
        with loss.waiting(last=rows.stop == own.stop):
            with autocast(device, settings.precision):
                part = loss(None if images is None else images[rows].to(device), seen, randoms[rows])
            part = part * (len(seen) / len(masks))
            (part * team.size).backward()  # what comes of it is averaged over the processes
        value += part.detach()
    return value


def total_steps(settings: TrainSettings, steps_per_epoch: int) -> int:
    """Optimisation steps of a training: its epochs, or fewer where ``max_steps`` caps them."""
    limits = [settings.epochs * steps_per_epoch] if settings.epochs is not None else []
    return min(limits + ([settings.max_steps] if settings.max_steps is not None else []))


def learning_rate(settings: TrainSettings, step: int, total: int) -> float:
    """Linear warm-up, then constant, or a half cosine down to zero. A function of the step alone, so nothing to resume."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / (settings.warmup_steps + 1)
    if settings.schedule == "constant":
        return settings.learning_rate
    progress = (step - settings.warmup_steps) / max(1, total - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def ema_decay(decay: float, step: int) -> float:
    """The decay after a warm-up in which the average forgets the random start: min(decay, (1 + n) / (10 + n)) after n steps."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    kept: list[Tensor] = list(average.parameters())
    current: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(kept, current, 1 - decay)
    for old, new in zip(average.buffers(), network.buffers(), strict=True):
        old.copy_(new)


def _validate(validate: Callable[[Any], float], network: nn.Module, seed: int, step: int) -> float:
    was_training = network.training
    network.eval()
    with torch.no_grad():
        torch.manual_seed(step_seed(seed, step))
        score = validate(network)
    network.train(was_training)
    return score


def _copy_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _snapshot(
    result: Trained, step: int, network: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer | Muon
) -> dict[str, Any]:
    return {
        "step": step,
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "history": [asdict(entry) for entry in result.history],
        "best": {"weights": result.weights, "step": result.best_step, "score": result.best_score},
        "seconds": result.seconds,
    }


def _restore(
    saved: Mapping[str, Any], network: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer | Muon
) -> tuple[Trained, int]:
    network.load_state_dict(saved["network"])
    average.load_state_dict(saved["average"])
    optimiser.load_state_dict(saved["optimiser"])
    best = saved["best"]
    history = [Entry(**entry) for entry in saved["history"]]
    return Trained(best["weights"], history, best["step"], best["score"], saved["seconds"]), saved["step"]
