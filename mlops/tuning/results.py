"""What came out of a study: its best trial or its front, a table of all trials, and which parameters mattered."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from cmr.errors import DataError
from mlops.tuning.study import FINISHED, Study, Trial

_FEWEST = 4


def best(study: Study, trials: Sequence[Trial]) -> Trial | None:
    """The finished trial with the highest score; None where there is none, or where several objectives leave it open."""
    ranked = [] if study.objectives else [trial for trial in trials if trial.state == FINISHED]
    return max(ranked, key=lambda trial: trial.scores["score"], default=None)


def front(study: Study, trials: Sequence[Trial]) -> list[Trial]:
    """The finished trials that no other beats in one objective without losing in another."""
    wanted = {name: 1.0 if goal == "max" else -1.0 for name, goal in study.goals.items()}
    finished = [trial for trial in trials if trial.state == FINISHED]

    def beats(one: Trial, other: Trial) -> bool:
        gains = [sign * (one.scores[name] - other.scores[name]) for name, sign in wanted.items()]
        return min(gains) >= 0 and max(gains) > 0

    return [trial for trial in finished if not any(beats(other, trial) for other in finished)]


def winner(study: Study, number: int | None) -> Trial:
    """The trial whose values are to be taken over.

    Raises:
        DataError: no such finished trial, or several objectives and no number.
    """
    trials = study.all_trials()
    chosen = best(study, trials) if number is None else next((one for one in trials if one.number == number), None)
    if study.objectives and number is None:
        among = ", ".join(str(trial.number) for trial in front(study, trials)) or "none yet"
        raise DataError(f"{study.name} weighs several objectives: choose a trial of its front with --trial ({among}).")
    if chosen is None or chosen.state != FINISHED:
        what = f"trial {number}" if number is not None else "a trial"
        raise DataError(f"{study.name} has not finished {what}: `syncmri tune show {study.name}` lists what there is.")
    return chosen


def counts(trials: Sequence[Trial]) -> dict[str, int]:
    """How many trials ended how."""
    return dict(Counter(trial.state for trial in trials))


def line(study: Study, trial: Trial) -> str:
    """A trial in a line."""
    told = trial.error or ", ".join(f"{name} {value:.4g}" for name, value in trial.scores.items())
    return f"{study.name}/{trial.number:03d} {trial.state}: {told} ({tried(trial)})"


def tried(trial: Trial) -> str:
    """The values of a trial in words."""
    return ", ".join(f"{key} {_shown(value)}" for key, value in trial.values.items())


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "null" if value is None else str(value)


def table(study: Study, trials: Sequence[Trial]) -> pd.DataFrame:
    """A row a trial, the best first: ``trial``, ``state``, ``front`` (of several objectives), each score, ``steps`` and
    ``seconds`` trained, each parameter, and ``error``."""
    leading = {trial.number for trial in front(study, trials)}
    rows = []
    for trial in trials:
        told = study.told(trial)
        row: dict[str, Any] = {"trial": trial.number, "state": trial.state}
        row |= {"front": trial.number in leading} if study.objectives else {}
        row |= {name: trial.scores.get(name) for name in study.goals}
        row |= {"steps": told[-1]["step"] if told else 0, "seconds": told[-1]["seconds"] if told else 0.0}
        rows.append(row | trial.values | {"error": trial.error or ""})
    columns = ["trial", "state", *(["front"] if study.objectives else []), *study.goals, "steps", "seconds"]
    found = pd.DataFrame(rows, columns=[*columns, *study.search.space, "error"])
    first = next(iter(study.goals))
    order = found.assign(ended=found["state"] == FINISHED).sort_values(
        ["ended", first], ascending=[False, study.goals[first] == "min"], kind="stable", na_position="last"
    )
    return order.drop(columns="ended").reset_index(drop=True)


def importance(study: Study) -> pd.DataFrame:
    """How much of the differences between trials each parameter explains (fANOVA, Hutter et al. 2014; 0 to 1, the shares of one
    objective add up to 1): columns ``objective``, ``parameter``, ``importance``.

    Trials that were stopped early count with the score that they had then: without them it would be told from the good ones
    alone. Empty with fewer than 4 trials that have a score, or where all scored alike: nothing could be told.
    """
    import optuna

    scored = [one for one in study.optuna.get_trials(deepcopy=False) if one.state.is_finished() and one.values]
    rows = []
    for place, name in enumerate(study.goals):
        values = [one.values[place] for one in scored]
        if len(scored) < _FEWEST or len(set(values)) < 2:
            continue
        twin = optuna.create_study()  # of finished trials with one score, which is what can be asked about
        for one, value in zip(scored, values, strict=True):
            twin.add_trial(optuna.trial.create_trial(params=one.params, distributions=one.distributions, value=value))
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=study.seed)
        found = optuna.importance.get_param_importances(twin, evaluator=evaluator)
        rows += [(name, parameter, share) for parameter, share in found.items()]
    return pd.DataFrame(rows, columns=["objective", "parameter", "importance"])
