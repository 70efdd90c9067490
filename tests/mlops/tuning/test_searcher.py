"""Proposals and halving, driven as Ray Tune drives them; a kill is an object that is dropped."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from mlops.tuning.results import best, front, importance, table, winner
from mlops.tuning.searcher import Proposals, make_scheduler
from mlops.tuning.studies import create, load
from mlops.tuning.study import Study, unfinished
from mlops.yaml_files import read_yaml
from tests.mlops.tuning.studies import SPACE, set_search

pytestmark = pytest.mark.slow


@pytest.fixture
def study(demo: Path) -> Study:
    set_search(demo, "fm", space=SPACE, trials=6, max_steps=40)
    return create(demo, "fm", several=False)


def _driver(study: Study) -> Proposals:
    return Proposals(study, make_scheduler(study))


def _tried(study: Study) -> list[dict[str, Any]]:
    return [trial.values for trial in study.all_trials()]


def _score(values: dict[str, Any]) -> float:
    return -abs(values["train.learning_rate"] - 0.002) * (1 if values["train.ema"] else 2)


def _go(proposals: Proposals, study: Study, name: str, *, finish: bool = True) -> None:
    config = proposals.suggest(name)
    score = _score(next(one for one in study.all_trials() if one.number == config["number"]).values)
    proposals.on_trial_result(name, {"step": 10, "score": score})
    if finish:
        proposals.on_trial_complete(name, {"outcome": "finished", "step": 40, "score": score})


def test_the_first_trial_has_the_present_values_and_its_folder_holds_them(study: Study) -> None:
    config = _driver(study).suggest("a")
    assert config["number"] == 0
    now = read_yaml(study.root / "params.yaml")["fm"]
    there = read_yaml(Path(config["folder"]) / "params.yaml")["fm"]
    assert _tried(study)[0]["train.learning_rate"] == now["train"]["learning_rate"] == there["train"]["learning_rate"]
    assert there["train"]["max_steps"] == 40
    assert there["train"]["epochs"] is None
    assert (Path(config["folder"]) / "data").resolve() == study.root / "data"
    assert (Path(config["folder"]) / "runs/segmenter").is_symlink()


def test_a_killed_driver_leaves_no_trial_lost_or_doubled_and_changes_none(study: Study, demo: Path) -> None:
    whole = _driver(study)
    for number in range(6):
        _go(whole, study, f"whole-{number}")
    other = create(demo, "fm", several=False)
    first = _driver(other)
    for number in range(3):
        _go(first, other, f"first-{number}", finish=number < 2)  # the third is running when the driver is killed
    del first
    second = _driver(load(demo, other.name))
    for number in range(2, 6):
        _go(second, other, f"second-{number}")
    assert [trial.number for trial in other.all_trials()] == list(range(6))
    assert not unfinished(other)
    assert _tried(other) == _tried(study)
    assert len({str(values) for values in _tried(study)}) == 6


def test_what_failed_is_kept_as_such_and_never_the_best(study: Study) -> None:
    proposals = _driver(study)
    _go(proposals, study, "good")
    for name, end in (
        ("raised", {"result": {"outcome": "failed", "error": "ValueError: no"}}),
        ("lost", {"error": True}),
    ):
        proposals.suggest(name)
        proposals.on_trial_complete(name, **end)
    trials = study.all_trials()
    assert [trial.state for trial in trials] == ["finished", "failed", "failed"]
    assert trials[1].error == "ValueError: no"
    assert "killed" in str(trials[2].error)
    assert best(study, trials) == winner(study, None) == trials[0]
    assert list(table(study, trials)["trial"]) == [0, 1, 2]


def test_poor_trials_are_stopped_by_what_earlier_drivers_saw(study: Study) -> None:
    proposals = _driver(study)
    for number in range(4):
        name = f"good-{number}"
        proposals.suggest(name)
        proposals.on_trial_result(name, {"step": 14, "score": 1.0 + number})
        proposals.on_trial_complete(name, {"outcome": "finished", "step": 40, "score": 2.0})
    scheduler: Any = make_scheduler(study)
    for name, score, decision in (("poor", 0.5, TrialScheduler.STOP), ("better", 9.0, TrialScheduler.CONTINUE)):
        trial = SimpleNamespace(trial_id=name)
        scheduler.on_trial_add(None, trial)
        assert scheduler.on_trial_result(None, trial, {"step": 14, "score": score}) == decision
        assert scheduler.on_trial_result(None, trial, {"step": 40, "score": score}) == TrialScheduler.CONTINUE


def test_a_trial_that_was_stopped_early_keeps_its_last_score(study: Study) -> None:
    proposals = _driver(study)
    proposals.suggest("poor")
    proposals.on_trial_complete("poor", {"step": 10, "score": 0.25})
    (trial,) = study.all_trials()
    assert (trial.state, trial.scores) == ("stopped early", {"score": 0.25})
    assert best(study, [trial]) is None


def test_choices_that_are_used_up_end_the_search(demo: Path) -> None:
    set_search(demo, "fm", space={"train.ema": {"choices": [0.9, 0.99]}}, trials=9)
    study = create(demo, "fm", several=False)
    proposals = _driver(study)
    given = [proposals.suggest(f"trial-{number}") for number in range(3)]
    assert given[2] == Searcher.FINISHED
    assert sorted(values["train.ema"] for values in _tried(study)) == [0.9, 0.99]
    assert load(demo, study.name).trials == 2


def test_several_objectives_give_a_front_and_no_best(demo: Path) -> None:
    set_search(demo, "fm", space=SPACE, trials=4, objectives=["frechet", "adherence"])
    study = create(demo, "fm", several=True)
    proposals = _driver(study)
    for number, (frechet, adherence) in enumerate([(1.0, 0.2), (3.0, 0.9), (2.0, 0.1), (4.0, 0.8)]):
        proposals.suggest(f"trial-{number}")
        result = {"outcome": "finished", "step": 40, "score": 0.0, "frechet": frechet, "adherence": adherence}
        proposals.on_trial_complete(f"trial-{number}", result)
    trials = study.all_trials()
    assert [trial.number for trial in front(study, trials)] == [0, 1]
    assert best(study, trials) is None
    assert list(table(study, trials)["front"]) == [True, False, True, False]  # by the first objective
    shares = importance(study)
    assert set(shares["objective"]) == {"frechet", "adherence"}
    assert shares.groupby("objective")["importance"].sum().tolist() == pytest.approx([1.0, 1.0])
