"""Muon beside AdamW: which weights each moves and how, and that its state goes there and back."""

import copy
import math

import pytest
import torch
from torch import nn

from models.checkpoint import load_state, save_state
from models.optimisers import LEAST_CHANNELS, Muon, optimiser
from models.train import train
from tests.models.test_train import KilledError, batches, curve, killed_after
from tests.models.with_gaussian import CONFIGS, build

RATE = 1e-3
WIDE = ("2.weight",)  # what Muon takes of the network below


def small() -> nn.Sequential:
    """Convolutions from one channel, between many and to one; and weights of other shapes."""
    torch.manual_seed(0)
    many = LEAST_CHANNELS
    return nn.Sequential(
        nn.Conv2d(1, many, 3, padding=1),
        nn.GroupNorm(4, many),
        nn.Conv2d(many, 2 * many, 3, padding=1),
        nn.Conv2d(2 * many, many - 1, 1),
        nn.Flatten(2),
        nn.Linear(64, 32),
    )


def backward(network: nn.Module, seed: int = 0) -> None:
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    network(x).sin().square().mean().backward()


def moved(network: nn.Module, settings, steps: int = 1) -> dict[str, torch.Tensor]:
    """By how much each weight moves in so many steps."""
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    stepper = optimiser(network, settings)
    for step in range(steps):
        stepper.zero_grad(set_to_none=True)
        backward(network, step)
        stepper.step()
    return {name: weight.detach() - before[name] for name, weight in network.named_parameters()}


def muon_settings(train_settings, **changes):
    return train_settings(**{"optimiser": "muon", "learning_rate": RATE, "weight_decay": 0.0, **changes})


# ---- What moves, and how


def test_a_wide_convolution_moves_by_a_nearly_orthogonal_matrix_of_adams_size(train_settings):
    network = small()
    weight, before = network[2].weight, network[2].weight.detach().clone()
    rng = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(32, 32, generator=rng))[0]
    right = torch.linalg.qr(torch.randn(144, 32, generator=rng))[0]
    weight.grad = (left @ torch.linspace(1, 0.05, 32).diag() @ right.T).view_as(weight)  # directions of unequal strength
    optimiser(network, muon_settings(train_settings)).step()
    matrix = (weight.detach() - before).view(32, -1)
    strengths = torch.linalg.svdvals(matrix)
    assert strengths[-1] > 0.45 * strengths[0]
    assert matrix.square().mean().sqrt().item() == pytest.approx(0.2 * RATE, rel=0.25)
    along = torch.einsum("ik,ij,jk->k", left, matrix, right)
    assert (along < 0).all()  # downhill in every direction


def test_all_other_weights_move_as_by_adamw(train_settings):
    network, plain = small(), small()
    changes = moved(network, muon_settings(train_settings, weight_decay=0.1))
    others = [weight for name, weight in plain.named_parameters() if name not in WIDE]
    before = {name: weight.detach().clone() for name, weight in plain.named_parameters()}
    backward(plain)
    torch.optim.AdamW(others, lr=RATE, betas=(0.9, 0.99), weight_decay=0.1).step()
    for name, weight in plain.named_parameters():
        expected = weight.detach() - before[name]
        assert changes[name].abs().max() > 0, name
        assert bool(expected.any()) == (name not in WIDE), name
        assert name in WIDE or torch.allclose(changes[name], expected, atol=1e-7), name


def test_only_trained_weights_move(train_settings):
    network = small()
    network[0].requires_grad_(False)
    changes = moved(network, muon_settings(train_settings, weight_decay=0.1))
    assert not any(change.any() for name, change in changes.items() if name.startswith("0."))
    assert all(change.any() for name, change in changes.items() if not name.startswith("0."))


@pytest.mark.parametrize("kind", ["wide", "narrow"])
def test_a_network_of_one_kind_of_weights_trains_too(kind, train_settings):
    channels = LEAST_CHANNELS if kind == "wide" else LEAST_CHANNELS - 1
    network = nn.Conv2d(channels, channels, 3, bias=False)
    stepper = optimiser(network, muon_settings(train_settings))
    before = network.weight.detach().clone()
    network(torch.randn(2, channels, 5, 5)).square().mean().backward()
    stepper.step()
    assert not torch.equal(network.weight, before)
    stepper.zero_grad()
    assert network.weight.grad is None


def test_the_learning_rate_that_the_loop_sets_reaches_all_weights(train_settings):
    network = small()
    stepper = optimiser(network, muon_settings(train_settings))
    for group in stepper.param_groups:
        group["lr"] = 0.0
    before = copy.deepcopy(network.state_dict())
    backward(network)
    stepper.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert sum(weight.numel() for group in stepper.param_groups for weight in group["params"]) == sum(
        weight.numel() for weight in network.parameters()
    )


def test_gradients_are_forgotten_between_steps(train_settings):
    network = small()
    stepper = optimiser(network, muon_settings(train_settings))
    for _ in range(2):
        stepper.zero_grad(set_to_none=True)
        assert all(weight.grad is None for weight in network.parameters())
        backward(network)
    once = {name: weight.grad.clone() for name, weight in network.named_parameters()}
    network.zero_grad(set_to_none=True)
    backward(network)
    assert all(torch.allclose(weight.grad, once[name]) for name, weight in network.named_parameters())
    before = network[2].weight.detach().clone()
    stepper.zero_grad(set_to_none=True)
    stepper.step()  # nothing was learnt since
    assert torch.equal(network[2].weight, before)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_other_optimisers_are_torchs_own(name, train_settings):
    stepper = optimiser(small(), train_settings(optimiser=name))
    assert type(stepper).__name__.lower() == name
    assert not isinstance(stepper, Muon)


# ---- Its state


def test_its_state_goes_there_and_back_and_gives_the_same_steps(train_settings, tmp_path):
    network = small()
    stepper = optimiser(network, muon_settings(train_settings))

    def steps(network, stepper, seeds):
        for seed in seeds:
            stepper.zero_grad(set_to_none=True)
            backward(network, seed)
            stepper.step()

    steps(network, stepper, range(3))
    save_state(tmp_path / "s.pt", {"network": network.state_dict(), "optimiser": stepper.state_dict()})
    steps(network, stepper, range(3, 6))

    saved = load_state(tmp_path / "s.pt")
    again = small()
    other = optimiser(again, muon_settings(train_settings))
    again.load_state_dict(saved["network"])
    other.load_state_dict(saved["optimiser"])
    steps(again, other, range(3, 6))
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in again.state_dict().items())

    fresh = small()
    fresh.load_state_dict(saved["network"])
    steps(fresh, optimiser(fresh, muon_settings(train_settings)), range(3, 6))
    assert not torch.equal(fresh[2].weight, network[2].weight)  # the state does matter


@pytest.mark.parametrize("name", CONFIGS)
def test_a_killed_training_with_muon_resumes_to_the_same_weights(name, train_settings, tmp_path):
    settings = muon_settings(train_settings)

    def run(state, steps=math.inf):
        network = build(name)
        return train(network, killed_after(steps, network.loss), batches(), settings, seed=7, state=state)

    whole = run(tmp_path / "a.pt")
    with pytest.raises(KilledError):
        run(tmp_path / "b.pt", 5)
    assert load_state(tmp_path / "b.pt")["step"] == 5
    resumed = run(tmp_path / "b.pt")
    assert curve(resumed) == curve(whole)
    assert all(torch.equal(resumed.weights[key], whole.weights[key]) for key in whole.weights)
    start = build(name).state_dict()
    changed = {key.split(".")[0] for key in start if not torch.equal(start[key], whole.weights[key])}
    assert changed <= {"unet", "controlnet"}  # the linear denoiser and the autoencoder stay as they were


def test_the_networks_of_these_tests_have_weights_for_muon(train_settings):
    """Else the tests above say nothing of it."""
    for name in CONFIGS:
        stepper = optimiser(build(name), muon_settings(train_settings))
        assert [type(part).__name__ for part in stepper._parts] == ["AdamW", "Muon"]
