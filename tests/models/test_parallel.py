"""Two processes that train one network together, and one that trains it alone."""

import math
from functools import partial
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from cmr.errors import DataError
from models.config import TrainSettings
from models.parallel import Pauses, Team
from models.train import OutOfTimeError, TrainingDivergedError, train
from tests.models.conftest import SETTINGS
from tests.models.test_train import NETWORKS, KilledError, Slope, batches, killed_after, networks
from tests.models.with_gaussian import CONFIGS
from tests.models.with_gaussian import build as build_with_gaussian

SIZE = 2
BATCH = 5  # odd: two images for the one, three for the other
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {"gradient_clip": None}) for name in NETWORKS},
    "micro": ("segmenter", {"micro_batch": 2}),  # one micro batch for the one, two for the other; clipped
    **{f"muon {name}": (name, {"optimiser": "muon", "gradient_clip": None}) for name in CONFIGS},  # with a linear denoiser
}


def _train(folder: Path, case: str, configs: tuple, *, steps: float = math.inf, deadline: float = math.inf) -> dict[str, Any]:
    """What a training ends with, the gradients of its first step, and how often this process was asked to validate.

    Args:
        steps: the training is killed after so many.
    """
    name, changes = CASES[case]
    build, loss = networks(*configs)[name]
    if case.startswith("muon"):
        build, loss = partial(build_with_gaussian, name), attrgetter("loss")
    gradients: list[torch.Tensor] = []
    asked: list[str] = []

    def keep(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        found = [p.grad.flatten() for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        gradients.append(torch.cat(found).clone()) if not gradients else None

    def score(network: nn.Module) -> float:
        asked.append("score")
        return -sum(p.abs().sum().item() for p in network.parameters())

    def tell(entry: Any) -> None:
        asked.append("entry")

    torch.manual_seed(1)
    network = build()
    handle = register_optimizer_step_pre_hook(keep)
    try:
        settings = TrainSettings(**SETTINGS | changes)
        state = folder / f"{case}.pt"
        trained = train(
            network,
            killed_after(steps, loss(network)),
            batches(BATCH),
            settings,
            seed=7,
            state=state,
            validate=score,
            on_epoch=tell,
            deadline=deadline,
            label=case,
        )
    finally:
        handle.remove()
    curve = [entry.train_loss for entry in trained.history]
    return {
        "curve": curve,
        "gradient": gradients[0],
        "weights": trained.weights,
        "last": {key: value.clone() for key, value in network.state_dict().items()},
        "best": (trained.best_step, trained.best_score),
        "asked": asked,
    }


def _diverging(folder: Path, rank: int) -> str:
    """The loss of one process alone becomes no number, in the second epoch."""
    network, steps = Slope(), []

    def loss(*_: Any) -> torch.Tensor:
        steps.append(0)
        return network.weight.sum() * (math.nan if rank == 1 and len(steps) > 2 else 1.0)

    with pytest.raises(TrainingDivergedError) as error:
        train(network, loss, batches(BATCH), TrainSettings(**SETTINGS), seed=0, state=folder / "nan.pt")
    return str(error.value)


def _parted(folder: Path, rank: int, configs: tuple) -> dict[str, Any]:
    """One process after the other has a deadline that has passed; the leader's stops both, after the first step."""
    with pytest.raises(OutOfTimeError) as error:
        _train(folder, "segmenter", configs, deadline=math.inf if rank else 0.0)
    return {"stopped": str(error.value), **_train(folder, "segmenter", configs, deadline=0.0 if rank else math.inf)}


def _disagreeing(folder: Path, rank: int) -> str:
    """Each has a state of its own, as where the folder is not shared."""
    network = Slope()
    state = folder / ("whole.pt" if rank else "none.pt")
    with pytest.raises(DataError) as error:
        train(network, lambda *_: network.weight.sum(), batches(BATCH), TrainSettings(**SETTINGS), seed=0, state=state)
    return str(error.value)


def _process(rank: int, folder: Path, configs: tuple) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=SIZE)
    found: dict[str, Any] = {case: _train(folder, case, configs) for case in CASES}
    found["resumed"] = _train(folder / "half", "segmenter", configs)
    found["parted"] = _parted(folder / "parted", rank, configs)
    found["diverged"], found["disagreed"] = _diverging(folder, rank), _disagreeing(folder, rank)
    torch.save(found, folder / f"found-{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def configs() -> tuple:
    from models.ddpm import DDPMNetwork
    from models.one_hot import MaskNetwork
    from tests.models.conftest import LINEAR

    shape = ((8, 16), 1, (False, True), 8, 4, LINEAR)
    return DDPMNetwork(*shape), MaskNetwork("one_hot", *shape)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, configs: tuple) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("alone")
    return {case: _train(folder, case, configs) for case in CASES}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, configs: tuple) -> list[dict[str, Any]]:
    """What each of two processes found; ``half`` holds the state of one process that was killed on the way."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "half").mkdir()

    with pytest.raises(KilledError):
        _train(folder / "half", "segmenter", configs, steps=3)  # in the midst of the second epoch
    network = Slope()  # a state for one of those that disagree
    train(
        network,
        lambda *_: network.weight.sum(),
        batches(BATCH),
        TrainSettings(**SETTINGS),
        seed=0,
        state=folder / "whole.pt",
    )
    multiprocessing.spawn(_process, (folder, configs), SIZE)
    return [torch.load(folder / f"found-{rank}.pt", weights_only=False) for rank in range(SIZE)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_and_one_train_alike(case: str, alone: dict[str, Any], together: list[dict[str, Any]]) -> None:
    one, (leader, other) = alone[case], (found[case] for found in together)
    scale = one["gradient"].norm()
    assert scale > 0
    assert (leader["gradient"] - one["gradient"]).norm() < 1e-4 * scale  # not its direction alone: its size
    assert leader["curve"] == pytest.approx(one["curve"], rel=1e-3)
    assert leader["curve"] == other["curve"]
    assert leader["best"][0] == one["best"][0]
    assert leader["best"][1] == pytest.approx(one["best"][1], rel=1e-3)
    assert all(torch.equal(leader["last"][key], other["last"][key]) for key in leader["last"])  # they do not drift apart


@pytest.mark.slow
def test_the_leader_alone_validates_and_tells(alone: dict[str, Any], together: list[dict[str, Any]]) -> None:
    leader, other = (found["segmenter"]["asked"] for found in together)
    assert leader == alone["segmenter"]["asked"]
    assert leader.count("score") == 2
    assert other == []


@pytest.mark.slow
def test_two_go_on_from_the_state_of_one(alone: dict[str, Any], together: list[dict[str, Any]]) -> None:
    for found in together:
        assert found["resumed"]["curve"] == pytest.approx(alone["segmenter"]["curve"], rel=1e-3)
        assert len(found["resumed"]["asked"]) < len(alone["segmenter"]["asked"])  # they did go on


@pytest.mark.slow
def test_a_loss_that_is_not_finite_in_one_process_stops_all(together: list[dict[str, Any]]) -> None:
    assert all("step 3 of 6: the loss is nan" in found["diverged"] for found in together)


@pytest.mark.slow
def test_the_leaders_deadline_stops_all_and_they_go_on_to_the_same_end(
    alone: dict[str, Any], together: list[dict[str, Any]]
) -> None:
    leader, other = (found["parted"] for found in together)
    assert leader["stopped"] == other["stopped"] == "segmenter: 1 of 6 steps"
    assert leader["curve"] == other["curve"] == pytest.approx(alone["segmenter"]["curve"], rel=1e-3)
    assert leader["best"][0] == alone["segmenter"]["best"][0]


@pytest.mark.slow
def test_processes_that_do_not_see_the_same_states_are_stopped(together: list[dict[str, Any]]) -> None:
    assert all("All nodes must see the same project folder" in found["disagreed"] for found in together)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [8, 9, 15])
def test_each_image_is_the_part_of_one(size: int, count: int) -> None:
    rows = [Team(rank, size).rows(count) for rank in range(size)]
    assert [row for part in rows for row in range(part.start, part.stop)] == list(range(count))
    lengths = [part.stop - part.start for part in rows]
    assert max(lengths) - min(lengths) <= 1


def test_more_processes_than_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"train\.workers: 3 processes for a batch of 2"):
        Team(0, 3).rows(2)


def test_a_process_alone_is_a_team_of_one() -> None:
    assert Team.mine() == Team(0, 1)
    Team.mine().agree("anything", 3)


class _Talks(Team):
    """A leader that counts how often it speaks to the other processes."""

    def leaders(self, value: Any) -> Any:
        SPOKEN.append(value)
        return value


SPOKEN: list[Any] = []


@pytest.mark.parametrize("slower", [1, 3])
def test_processes_seldom_speak_and_are_in_time(slower: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state every 60 s, and a deadline after 1000 s; steps of 0.1 s that become slower now and then."""
    SPOKEN.clear()
    now, step, saved = 0.0, 0, [0.0]
    monkeypatch.setattr("models.parallel.time.monotonic", lambda: now)
    pauses = Pauses(_Talks(0, 2), 0, 60.0, 1000.0)
    pause = None
    while pause != "stop":
        step += 1
        now += 0.1 * (slower if step % 2000 > 1500 else 1)
        pause = pauses.after(step)
        if pause == "save":
            saved.append(now)
            pauses.saved()
    assert 1000 <= now <= 1000 + 0.1 * slower + 1e-6
    gaps = [after - before for before, after in pairwise(saved)]
    assert len(gaps) == 16
    assert 60 <= min(gaps) <= max(gaps) <= 60 + 0.1 * slower + 1e-6
    assert len(SPOKEN) < step / 10


def test_processes_that_neither_save_nor_have_a_deadline_speak_once() -> None:
    SPOKEN.clear()
    pauses = Pauses(_Talks(0, 2), 5, math.inf, math.inf)
    assert [pauses.after(step) for step in range(6, 1000)] == [None] * 994
    assert len(SPOKEN) == 1
