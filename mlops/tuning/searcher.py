"""Ray Tune's view of a study: which trial comes next (Optuna), and which is not worth going on with (successive halving).

Neither has a state of its own. Whatever they know is read from Optuna's records, which are written as it happens: a study whose
driver was killed goes on as if it had not been, and with one trial at a time proposes what it would have proposed.
"""

import json
import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from mlops.settings import lookup
from mlops.tuning.space import Domain, value_at
from mlops.tuning.studies import extended
from mlops.tuning.study import ERROR, FAILED, FINISHED, REPEATED, Study, decoded, encoded
from mlops.yaml_files import read_yaml

HALVING = 2  # at each validation that is twice as late as the one before, the better half goes on
_AT_RANDOM = 10  # trials before the sampler has something to learn from; a third of a small study
_REPEATS = 20  # proposals in a row that were tried before: then a space of choices is taken to be used up


class Proposals(OptunaSearch):
    """Proposes trials: first those that an earlier driver left unfinished, then new ones.

    Args:
        study: its records say all that is known.
        scheduler: is told what an unfinished trial has reached already.
    """

    def __init__(self, study: Study, scheduler: TrialScheduler):
        goals = study.goals
        self._space_of = _Space(study)
        super().__init__(
            space=self._space_of,
            metric=list(goals) if study.objectives else "score",
            mode=list(goals.values()) if study.objectives else "max",
            study_name=study.name,
            storage=study.storage(),
        )
        self._records, self._scheduler = study, scheduler
        known: Any = self._ot_study
        self._known: optuna.Study = known
        running = [one for one in self._trials(TrialState.RUNNING) if REPEATED not in one.user_attrs]
        self._left = [optuna.trial.Trial(self._known, one._trial_id) for one in running]

    def suggest(self, trial_id: str) -> Any:
        """The folder and the number of the next trial, prepared to run."""
        self._records.tidy()
        trial = self._left.pop(0) if self._left else self._new()
        if trial is None:
            extended(self._records, len(self._records.all_trials()))  # there will be no more
            return Searcher.FINISHED
        self._ot_trials[trial_id] = trial
        self._known.sampler = self._sampler_of(trial.number)  # for one that was left before all its values were drawn
        proposed = super().suggest(trial_id) or {}  # the values of one that goes on are those that it has
        domains = self._records.search.space
        values = {key: decoded(domains[key], value) for key, value in proposed.items()}
        reached = self._frozen(trial_id).intermediate_values
        replay(self._scheduler, trial_id, reached)
        return {"number": trial.number, "folder": str(self._records.prepare(trial.number, values))}

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Keeps the score at a validation; of several objectives there is none before the end."""
        known = self._frozen(trial_id).intermediate_values
        if not self._records.objectives and "score" in result and result["step"] not in known:
            self._ot_trials[trial_id].report(result["score"], result["step"])

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Keeps how a trial ended. One that was neither finished nor failed was stopped by the scheduler."""
        result, trial = result or {}, self._ot_trials[trial_id]
        if error or result.get("outcome") == FAILED:
            trial.set_user_attr(ERROR, result.get("error", "its process was lost again and again: killed, or out of memory?"))
            self._known.tell(trial, state=TrialState.FAIL)
        elif result.get("outcome") == FINISHED:
            self._known.tell(trial, [result[name] for name in self._records.goals])
        elif result:
            self.on_trial_result(trial_id, result)
            self._known.tell(trial, state=TrialState.PRUNED)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: Optuna's records are the state."""

    def _new(self) -> optuna.trial.Trial | None:
        """A trial with values that no other had; None where chance finds no more."""
        for _ in range(_REPEATS):
            trial = self._known.ask()
            before = {json.dumps(one.params, sort_keys=True): one.number for one in self._trials()[: trial.number]}
            self._known.sampler = self._sampler_of(trial.number)
            self._space_of(trial)
            same = before.get(json.dumps(trial.params, sort_keys=True))
            if same is None:
                return trial
            trial.set_user_attr(REPEATED, same)
            self._known.tell(trial, state=TrialState.FAIL)
        return None

    def _sampler_of(self, number: int) -> optuna.samplers.BaseSampler:
        """Seeded by the trial's number, so that there is no state of random numbers to restore."""
        seed = int(np.random.SeedSequence([self._records.seed, number]).generate_state(1)[0])
        at_random = max(2, min(_AT_RANDOM, self._records.trials // 3))
        # Trials that run at the same time count as bad ones, so that no two try nearly the same.
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=at_random, constant_liar=True)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._known.get_trials(deepcopy=False, states=states or None)

    def _frozen(self, trial_id: str) -> FrozenTrial:
        return self._trials()[self._ot_trials[trial_id].number]


class _Space:
    """The search space as Optuna asks for it: a parameter that a trial has already is left as it is."""

    def __init__(self, study: Study):
        self._domains = study.search.space
        self._now = lookup(read_yaml(study.folder / "params.yaml"), study.network)

    def __call__(self, trial: optuna.trial.Trial) -> None:
        for key, domain in self._domains.items():
            _suggest(trial, key, domain, value_at(self._now, key))


def _suggest(trial: optuna.trial.Trial, key: str, domain: Domain, now: Any) -> None:
    if domain.choices is not None:
        trial.suggest_categorical(key, [encoded(domain, choice) for choice in domain.choices])
    elif domain.whole(now):
        trial.suggest_int(key, int(domain.low or 0), int(domain.high or 0), log=domain.log)
    else:
        trial.suggest_float(key, float(domain.low or 0), float(domain.high or 0), log=domain.log)


def make_scheduler(study: Study) -> TrialScheduler:
    """Asynchronous successive halving over the validations, told what earlier trials reached; with several objectives, which
    are only known at the end, or with too few validations to halve at, none."""
    validations = lookup(read_yaml(study.folder / "params.yaml"), f"{study.network}.train.validations")
    first, last = math.ceil(study.search.max_steps / validations), study.search.max_steps - 1
    if study.objectives or first * HALVING > last:
        return FIFOScheduler()
    scheduler = ASHAScheduler(
        time_attr="step",
        metric="score",
        mode="max",
        max_t=last,  # at the last step there is nothing to save: whoever gets there ends by itself
        grace_period=first,
        reduction_factor=HALVING,
        stop_last_trials=False,
    )
    ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    for trial in study.optuna.get_trials(deepcopy=False, states=ended):
        replay(scheduler, f"earlier-{trial.number}", trial.intermediate_values)
    return scheduler


def replay(scheduler: TrialScheduler, trial_id: str, scores: Mapping[int, float]) -> None:
    """Tells a scheduler what a trial reached before this driver began."""
    controller: Any = None  # which halving does not ask
    trial: Any = SimpleNamespace(trial_id=trial_id)
    scheduler.on_trial_add(controller, trial)
    for step, score in sorted(scores.items()):
        scheduler.on_trial_result(controller, trial, {"step": step, "score": score})
