"""The training loop. It trains every network: mask models, autoencoder, generators and segmenter.

All random numbers of a step (batch, augmentation, time, noise, dropout) come from seeds that are computed from the run's seed
and the number of the step; each image has a seed of its own. The state that is saved for resuming holds all the rest, the mean
loss of the epoch under way included. So a run that is killed and resumed has, on a CPU, exactly the weights and the losses of
a run that is not killed. A run by several processes (see :mod:`models.parallel`) has those of one process up to rounding.
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
from models.device import autocast, memory_advice, weights_cast_once
from models.optimisers import Muon
from models.optimisers import optimiser as make_optimiser
from models.parallel import Pauses, SharedLoss, Team

Loss = Callable[[Tensor | None, Tensor, Randoms], Tensor]


class TrainingDivergedError(RuntimeError):
    """The loss or a weight is infinite or not a number; the last state saved before that is kept."""

    lasting = True  # whoever begins such a training anew finds the same


class OutOfTimeError(RuntimeError):
    """The deadline of a training came before its end. Its state is saved, and the same call goes on from there."""


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
    """What a training ends with: the weights that ``settings.keep`` names, or the last ones where nothing was validated."""

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

    In a ``torch.distributed`` group all processes train one network. Only the leader validates, saves the state and calls
    ``on_epoch``; use the leader's return value.

    Args:
        network: the network, already on its device.
        loss: maps (images or None, one-hot masks, one random source an image) to a scalar, the mean over the images.
        batches: maps the number of a step to its batch.
        settings: the ``train`` block of the network's settings.
        seed: the seed of all random numbers of the training.
        state: the file of the state. If it exists, the training goes on from it. The state is saved after a step when
            ``settings.checkpoint_seconds`` have passed since the last time. The caller removes the file after it has stored
            the result.
        validate: maps the network, with averaged weights if ``settings.ema`` is set, to a score; higher is better. The
            weights with the best score are returned; without ``validate``, the last weights.
        on_epoch: is called with each entry of the history.
        deadline: a time of the leader's ``time.monotonic``. When it has passed at the end of a step, the training saves its
            state and stops.
        label: the name of the network in ``params.yaml``; after a slash, the data that it is trained on.

    Raises:
        DataError: the memory does not suffice; the message names the parameter to lower.
        TrainingDivergedError: the loss or a weight is not finite. No such state is ever saved.
        OutOfTimeError: the deadline has passed.
    """
    device, team = next(network.parameters()).device, Team.mine()
    total = total_steps(settings, batches.steps_per_epoch)
    validation_steps = (
        {math.ceil(total * k / settings.validations) for k in range(1, settings.validations + 1)} if validate else set()
    )
    optimiser = make_optimiser(network, settings)
    average = copy.deepcopy(network).eval() if settings.ema else network

    result, start, running, counted = Trained({}), 0, torch.zeros((), device=device), 0
    if (saved := load_state(state)) is not None:
        result, start = _restore(saved, network, average, optimiser)
        counted = saved["epoch"]["steps"]
        if team.leads:  # the saved loss is the sum over all processes
            running += saved["epoch"]["loss"].to(device)
    team.agree(f"the step to go on from, by {state}", start)
    shared = SharedLoss(network, loss, team)
    clock, seconds_before = time.monotonic(), result.seconds
    too_large = f"{label.split('/')[0]}.train.micro_batch", settings.micro_batch or batches.batch
    pauses = Pauses(team, start, settings.checkpoint_seconds, deadline)

    steps = range(start, total)
    bar = tqdm(steps, label, total, initial=start, unit="step", mininterval=2, dynamic_ncols=True, disable=not team.leads)
    for step in bar:
        torch.manual_seed(step_seed(seed, step))  # dropout, which no source of an image's own reaches
        network.train()
        rate = learning_rate(settings, step, total)
        for group in optimiser.param_groups:
            group["lr"] = rate

        optimiser.zero_grad(set_to_none=True)
        with memory_advice(*too_large):
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
            _check_finite(mean, network, settings, state, f"{label}: step {done} of {total}")
            scored = validate if team.leads and done in validation_steps else None
            with memory_advice(*too_large):
                score = _validate(scored, average, seed, done) if scored else math.nan
            if score > result.best_score or (settings.keep == "last" and scored):
                result.best_step, result.best_score, result.weights = done, score, _copy_of(average)
            entry = Entry(done, step // batches.steps_per_epoch, mean, score, rate, round(result.seconds, 3))
            result.history.append(entry)
            running, counted = torch.zeros_like(running), 0
            bar.set_postfix_str(f"loss {mean:.4f}" + (f", best score {result.best_score:.3f}" if result.weights else ""))
            if on_epoch and team.leads:
                on_epoch(entry)
        pause = pauses.after(done) if done < total else None
        if pause is not None:
            so_far = team.total(running)
            _check_finite(so_far.item(), network, settings, state, f"{label}: step {done} of {total}")
            if team.leads:
                save_state(state, _snapshot(result, done, so_far, counted, network, average, optimiser))
                pauses.saved()
        if pause == "stop":
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
    with torch.no_grad(), weights_cast_once(next(network.parameters()).device):
        torch.manual_seed(step_seed(seed, step))
        score = validate(network)
    network.train(was_training)
    return score


def _copy_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _check_finite(loss: float, network: nn.Module, settings: TrainSettings, state: Path, where: str) -> None:
    """Raises :class:`TrainingDivergedError` unless the loss is finite, and the weights, which the last step may have spoiled.

    All processes of a group have the same loss, a sum over them, and the same weights: all raise, or none.
    """
    with torch.no_grad():
        largest = nn.utils.get_total_norm(network.parameters(), math.inf).item()
    if not math.isfinite(loss) or not math.isfinite(largest):
        found = f"the loss is {loss}" if not math.isfinite(loss) else f"the largest weight is {largest}"
        raise TrainingDivergedError(
            f"{where}: {found}. The last good state, if one was saved, is {state}; "
            f"lower 'train.learning_rate' (now {settings.learning_rate}) or set 'train.gradient_clip'."
        )


def _snapshot(
    result: Trained,
    step: int,
    loss: Tensor,
    counted: int,
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer | Muon,
) -> dict[str, Any]:
    """The state after a step; ``loss`` is the sum over the ``counted`` steps of the epoch under way."""
    return {
        "step": step,
        "epoch": {"loss": loss, "steps": counted},
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
