"""The project's training step against one in float32: what benchmarks/training.py times gives the same loss and gradient."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.steps import subjects
from benchmarks.training import agreement, plain_step
from mlops.profiles import merged

PARAMS = merged(Path(__file__).parents[2], "demo")
SIZE = 32
PARAMS["slices"]["size"] = SIZE
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["masks", "ddpm", "ldm.autoencoder", "ldm", "fm", "segmenter"])
def test_mixed_precision_gives_the_loss_and_the_gradient_of_float32(name: str) -> None:
    subject = dict(subjects(PARAMS, CPU))[name]
    for settings in (subject.train, replace(subject.train, precision="bf16")):
        assert "cosine" in agreement(name, replace(subject, train=settings), SIZE, 4, CPU)


def test_the_plain_step_learns() -> None:
    subject = dict(subjects(PARAMS, CPU))["segmenter"]
    before = [one.detach().clone() for one in subject.network.parameters()]
    assert plain_step(subject, SIZE, 4, CPU)() > 0
    assert any(not torch.equal(old, new) for old, new in zip(before, subject.network.parameters(), strict=True))


def test_losses_that_differ_end_the_benchmark() -> None:
    subject = dict(subjects(PARAMS, CPU))["segmenter"]

    def odd(*given: object) -> torch.Tensor:
        return subject.loss(*given) * (1.1 if torch.is_autocast_enabled("cpu") else 1.0)

    with pytest.raises(SystemExit, match="nothing was timed"):
        agreement("odd", replace(subject, loss=odd, train=replace(subject.train, precision="bf16")), SIZE, 4, CPU)
