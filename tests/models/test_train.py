"""The training loop: resuming, averaging, choosing, stopping."""

import copy
import math
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from cmr.errors import DataError
from models.checkpoint import load_state
from models.config import AugmentSettings
from models.data import SliceBatches, step_randoms
from models.ddpm import DDPM
from models.distances import MaskFlow
from models.fm import FlowMatching, FlowNetwork
from models.ldm import LDM, LDMNetwork
from models.one_hot import MaskDDPM
from models.segmenter import Segmenter, SegmenterNetwork
from models.train import OutOfTimeError, TrainingDivergedError, ema_decay, learning_rate, total_steps, train
from models.vqvae import VQVAE, VQVAENetwork
from tests.models.conftest import DISTANCES, LINEAR

NETWORKS = ("ddpm", "ldm", "vqvae", "fm", "masks", "distances", "segmenter")
AUTOENCODER = VQVAENetwork((8, 16), (2, 1), 1, 4, 32, 0.25, 4)
LATENT = LDMNetwork((8, 16), 1, (False, True), 8, 4, 8, LINEAR, AUTOENCODER)
FLOW = FlowNetwork((8, 16), 1, (False, True), 1, 16, 4, 4, 1000)
AUGMENT = AugmentSettings(rotation=10, scale=0.1, shift=0.05, flip=False)


def batches(batch: int = 4) -> SliceBatches:
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 4, (12, 16, 16)).astype(np.uint8)
    return SliceBatches(rng.uniform(-1, 1, (12, 16, 16)), masks, batch=batch, augment=AUGMENT, seed=3)


def _latent() -> LDM:
    network = LDM(LATENT)
    network.adopt(VQVAE(AUTOENCODER), torch.rand(12, 1, 16, 16) * 2 - 1)
    return network


def networks(ddpm_network, mask_network):
    return {
        "ddpm": (lambda: DDPM(ddpm_network), lambda network: network.loss),
        "ldm": (_latent, lambda network: network.loss),
        "vqvae": (lambda: VQVAE(AUTOENCODER), lambda network: network.loss),
        "fm": (lambda: FlowMatching(FLOW), lambda network: network.loss),
        "masks": (lambda: MaskDDPM(mask_network), lambda network: lambda _, masks, randoms: network.loss(masks, randoms)),
        "distances": (lambda: MaskFlow(DISTANCES), lambda network: lambda _, masks, randoms: network.loss(masks, randoms)),
        "segmenter": (
            lambda: Segmenter(SegmenterNetwork((4, 8, 8))),
            lambda network: lambda images, masks, _: network.loss(images, masks),
        ),
    }


class KilledError(Exception):
    """Stands for the end of the process in the middle of a training."""


def killed_after(steps, loss):
    """The loss, which kills the training in the step after so many, counted from the call."""
    calls = []

    def counting(*batch):
        if len(calls) == steps:
            raise KilledError
        calls.append(0)
        return loss(*batch)

    return counting


def curve(trained):
    return [(entry.step, entry.epoch, entry.train_loss, entry.learning_rate) for entry in trained.history]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_killed_run_resumes_to_the_same_weights(name, ddpm_network, mask_network, train_settings, tmp_path):
    build, loss = networks(ddpm_network, mask_network)[name]

    def score(network: nn.Module) -> float:
        return -sum(p.abs().sum().item() for p in network.parameters())

    def run(state, steps=math.inf):
        torch.manual_seed(1)
        network = build()
        return train(
            network, killed_after(steps, loss(network)), batches(), train_settings(), seed=7, state=state, validate=score
        )

    whole = run(tmp_path / "a.pt")
    with pytest.raises(KilledError):
        run(tmp_path / "b.pt", 8)
    assert load_state(tmp_path / "b.pt")["step"] == 8  # the third epoch's second step of three
    resumed = run(tmp_path / "b.pt")
    assert curve(resumed) == curve(whole)
    assert len(curve(whole)) == 4  # a validation ends an epoch early
    assert (resumed.best_step, resumed.best_score) == (whole.best_step, whole.best_score)
    assert all(torch.equal(resumed.weights[key], whole.weights[key]) for key in whole.weights)


@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
def test_the_weights_are_those_of_a_loop_written_by_hand(optimiser, mask_network, train_settings, tmp_path):
    """Parameter by parameter what the loop does for all of them in one call: the optimiser's step and the average."""
    settings = train_settings(optimiser=optimiser, epochs=3, weight_decay=0.01, ema=0.9, gradient_clip=0.5)
    torch.manual_seed(0)
    network = MaskDDPM(mask_network)
    plain, average = copy.deepcopy(network), copy.deepcopy(network)
    trained = train(
        network, lambda _, masks, randoms: network.loss(masks, randoms), batches(), settings, seed=7, state=tmp_path / "s.pt"
    )

    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimiser]
    stepper = kind(plain.parameters(), lr=1.0, weight_decay=0.01, foreach=False, fused=False)
    for step in range(9):
        stepper.param_groups[0]["lr"] = learning_rate(settings, step, 9)
        stepper.zero_grad()
        randoms = step_randoms(7, step, 4)
        plain.loss(batches()(step, randoms)[1], randoms).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        stepper.step()
        decay = ema_decay(0.9, step)
        for kept, new in zip(average.parameters(), plain.parameters(), strict=True):
            kept.data = decay * kept.data + (1 - decay) * new.data
    assert trained.best_step == 9
    for name, parameter in average.named_parameters():
        assert torch.allclose(trained.weights[name], parameter, atol=1e-5), name


class Slope(nn.Module):
    """loss = weight, so that every gradient is 1."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


def test_the_average_follows_its_formula(train_settings, tmp_path):
    network = Slope()
    settings = train_settings(epochs=2, optimiser="adam", weight_decay=0.0, schedule="constant", warmup_steps=0, ema=0.5)
    trained = train(network, lambda *_: network.weight.sum(), batches(), settings, seed=0, state=tmp_path / "s.pt")
    weight = average = 0.0
    for step in range(6):
        weight -= 1e-3  # Adam's step under a constant gradient is the learning rate
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    assert network.weight.item() == pytest.approx(weight, rel=1e-4)
    assert trained.weights["weight"].item() == pytest.approx(average, rel=1e-4)
    assert ema_decay(0.999, 10**6) == 0.999


def test_the_best_scored_weights_are_kept(train_settings, tmp_path):
    network = Slope()
    scores = iter([0.2, 0.9, 0.4])
    settings = train_settings(epochs=3, ema=None, validations=3)
    kept = {}

    def score(scored):
        value = next(scores)
        kept[value] = scored.weight.item()
        return value

    trained = train(
        network, lambda *_: network.weight.sum(), batches(), settings, seed=0, state=tmp_path / "s.pt", validate=score
    )
    assert (trained.best_step, trained.best_score) == (6, 0.9)
    assert trained.weights["weight"].item() == kept[0.9] != network.weight.item()
    assert [entry.validation for entry in trained.history] == [0.2, 0.9, 0.4]


@pytest.mark.parametrize("stops", [1, 2, 7])
def test_a_deadline_stops_within_an_epoch_and_the_history_is_that_of_one_run(stops, train_settings, tmp_path):
    """Each part of the run, of ``stops`` steps, begins where the deadline ended the last one."""
    settings = train_settings(epochs=2, checkpoint_seconds=math.inf)

    def run(state, deadline=math.inf, wait=lambda: None):
        network = Slope()

        def loss(images, *_):
            wait()
            return (network.weight * images.mean()).sum() + images.std()

        return train(network, loss, batches(2), settings, seed=7, state=state, deadline=deadline)

    whole, state, parts = run(tmp_path / "a.pt"), tmp_path / "b.pt", 0
    while True:
        deadline, calls = time.monotonic() + 0.2, []

        def wait(deadline=deadline, calls=calls):
            calls.append(0)
            if len(calls) == stops:
                time.sleep(max(0, deadline - time.monotonic()))

        try:
            parted = run(state, deadline, wait)
            break
        except OutOfTimeError:
            parts += 1
            assert load_state(state)["step"] == parts * stops
    assert parts == 11 // stops
    assert curve(parted) == curve(whole)
    assert torch.equal(parted.weights["weight"], whole.weights["weight"])


def test_a_state_is_saved_at_any_step_when_the_seconds_have_passed(train_settings, tmp_path, monkeypatch):
    """Steps of 10 s each in one long epoch, and a state every 25 s."""
    network, state, found, now = Slope(), tmp_path / "s.pt", [], [0.0]
    monkeypatch.setattr("models.parallel.time.monotonic", lambda: now[0])

    def loss(*_):
        found.append((load_state(state) or {"step": 0})["step"])
        now[0] += 10
        return network.weight.sum()

    settings = train_settings(epochs=1, checkpoint_seconds=25.0)
    train(network, loss, batches(1), settings, seed=0, state=state)
    assert found == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(train_settings, tmp_path):
    network = Slope()

    def loss(images, masks, randoms):
        return network.weight.sum() * (math.nan if steps.append(0) or len(steps) > 4 else 1.0)

    for seconds, found, kept in ((0.0, 5, 4), (math.inf, 6, None)):  # found at the next state to save, or the epoch's end
        steps: list[int] = []
        state = tmp_path / f"{seconds}.pt"
        settings = train_settings(ema=None, checkpoint_seconds=seconds)
        with pytest.raises(TrainingDivergedError, match=rf"step {found} of 9: the loss is nan.*learning_rate"):
            train(network, loss, batches(), settings, seed=0, state=state, label="slope")
        saved = load_state(state)
        assert (saved and saved["step"]) == kept
        assert saved is None or torch.isfinite(saved["network"]["weight"]).all()
        network = Slope()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(("seconds", "step", "kept"), [(0.0, 2, 1), (math.inf, 3, None)])
def test_weights_that_are_not_finite_are_never_saved_nor_returned(bad, seconds, step, kept, train_settings, tmp_path):
    """The loss of the step that spoils them is still finite, so only the weights show it."""
    network, state = Slope(), tmp_path / "s.pt"
    handle = register_optimizer_step_post_hook(
        lambda *_: network.weight.data.fill_(bad) if steps.append(0) or len(steps) == step else None
    )
    steps: list[int] = []
    settings = train_settings(epochs=1, checkpoint_seconds=seconds)
    try:
        with pytest.raises(TrainingDivergedError, match=f"step {step} of 3: the largest weight is {bad}"):
            train(network, lambda *_: network.weight.sum(), batches(), settings, seed=0, state=state)
    finally:
        handle.remove()
    saved = load_state(state)
    assert (saved and saved["step"]) == kept


def test_the_clip_bounds_the_gradient(train_settings, tmp_path):
    seen = []
    for clip in (None, 0.5):
        network = Slope()
        handle = register_optimizer_step_pre_hook(
            lambda optimiser, *_: seen.append(optimiser.param_groups[0]["params"][0].grad.item())
        )
        settings = train_settings(epochs=1, gradient_clip=clip, ema=None)
        train(network, lambda *_, n=network: 4 * n.weight.sum(), batches(12), settings, seed=0, state=tmp_path / f"{clip}.pt")
        handle.remove()
    assert seen == [4.0, pytest.approx(0.5, rel=1e-4)]


def test_learning_rate_warms_up_and_falls_to_zero(train_settings):
    settings = train_settings(warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(settings, step, 110) for step in range(110)]
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.5)
    assert rates[-1] < 1e-3
    constant = train_settings(schedule="constant", warmup_steps=0, learning_rate=0.3)
    assert {learning_rate(constant, step, 100) for step in range(100)} == {0.3}


def test_steps_are_epochs_or_fewer(train_settings):
    assert total_steps(train_settings(epochs=10), 7) == 70
    assert total_steps(train_settings(epochs=10, max_steps=50), 7) == 50
    assert total_steps(train_settings(epochs=10, max_steps=500), 7) == 70
    assert total_steps(train_settings(epochs=None, max_steps=500), 7) == 500
    with pytest.raises(ValueError, match="'epochs' or 'max_steps'"):
        train_settings(epochs=None, max_steps=None)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_micro_batch_changes_nothing_beyond_rounding(name, ddpm_network, mask_network, train_settings, tmp_path):
    build, loss = networks(ddpm_network, mask_network)[name]
    results = []
    for micro_batch in (None, 3, 1):
        torch.manual_seed(1)
        network = build()
        settings = train_settings(epochs=1, micro_batch=micro_batch, optimiser="adam", learning_rate=1e-5)
        results.append(train(network, loss(network), batches(), settings, seed=7, state=tmp_path / f"{micro_batch}.pt"))
    for other in results[1:]:
        assert other.history[-1].train_loss == pytest.approx(results[0].history[-1].train_loss, rel=1e-4)


def test_out_of_memory_names_the_parameter_to_lower(train_settings, tmp_path):
    network = Slope()

    def loss(*_):
        return network.weight * torch.empty(1 << 50).sum()

    with pytest.raises(DataError, match=r"lower 'slope\.train\.micro_batch' \(now 4\)"):
        train(network, loss, batches(), train_settings(), seed=0, state=tmp_path / "s.pt", label="slope/acdc")


def test_another_fault_of_the_network_stays_what_it_is(train_settings, tmp_path):
    network = Slope()

    def loss(*_):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(network, loss, batches(), train_settings(), seed=0, state=tmp_path / "s.pt")
