"""A study on disk: ``.syncmri/sweeps/STUDY``.

There is what was asked (``study.json``), the parameters it began with (``params.yaml``), what Optuna knows (``optuna.db``)
and a folder a trial. Nothing of a study is anywhere else, so that it goes on after any kill.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cmr.files import whole_folder
from mlops.private import share_with_group
from mlops.profiles import changed
from mlops.settings import PARAMS, section
from mlops.tuning.space import DIRECTIONS, Domain, SearchSettings, leaves

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

SWEEPS = Path(".syncmri", "sweeps")
REPORTS = Path("reports", "sweeps")
ENTRIES = "entries.jsonl"
"""Of a trial's folder: what its training told, a line of JSON each; the last one holds an ``outcome``."""
FINISHED, STOPPED, FAILED, RUNNING = "finished", "stopped early", "failed", "running"
ENDED = (FINISHED, STOPPED, FAILED)
ERROR, REPEATED = "error", "repeats"  # attributes of a trial in Optuna: why it failed; the number of one with the same values
_LOCK_SECONDS = 60.0
_DIRECTION: dict[str, Literal["minimize", "maximize"]] = {"min": "minimize", "max": "maximize"}
_STATES = {"COMPLETE": FINISHED, "PRUNED": STOPPED, "FAIL": FAILED, "RUNNING": RUNNING}


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial as it stands.

    Attributes:
        number: its place in the study, from 0.
        state: ``finished``, ``stopped early`` (it fell behind the others), ``failed`` or ``running``.
        values: the parameters that were tried, by dotted key below the network.
        scores: of each objective; of a study of one metric, ``score``, higher is better. Empty where it failed.
        reached: the step of its last validation that counts, where it runs or was stopped early; else None.
        error: why it failed.
        started, ended: in seconds since 1970.
    """

    number: int
    state: str
    values: dict[str, Any]
    scores: dict[str, float]
    reached: int | None
    error: str | None
    started: float
    ended: float | None


@dataclasses.dataclass(frozen=True)
class Study:
    """A study of one network.

    Attributes:
        root: the project folder.
        name: of the study, ``NET-NUMBER``.
        objectives: weighed against one another; none: trials are ranked by ``search.metric`` alone.
        trials: how many there are to be in the end.
        created: in seconds since 1970.
    """

    root: Path
    name: str
    network: str
    objectives: tuple[str, ...]
    trials: int
    created: float

    @property
    def folder(self) -> Path:
        """Everything that the study keeps."""
        return self.root / SWEEPS / self.name

    @property
    def report(self) -> Path:
        """Table and figures of the study, for people."""
        return self.root / REPORTS / self.name

    @cached_property
    def search(self) -> SearchSettings:
        """The search space and budget, as they were when the study began."""
        return section(f"{self.network}.search", SearchSettings, self.folder)

    @property
    def seed(self) -> int:
        """Of the search, and of every trial."""
        return section("seed", int, self.folder)

    @property
    def goals(self) -> dict[str, str]:
        """What a trial is judged by -> ``min`` or ``max``."""
        return {name: DIRECTIONS[name] for name in self.objectives} or {"score": "max"}

    def trial_folder(self, number: int) -> Path:
        """Where a trial runs."""
        return self.folder / "trials" / f"{number:03d}"

    def storage(self) -> "optuna.storages.RDBStorage":
        """Optuna's own records, in SQLite: written as a whole or not at all, and ``optuna-dashboard`` reads them."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        patient = {"connect_args": {"timeout": _LOCK_SECONDS}}  # somebody may be looking at it: `syncmri tune show`
        return optuna.storages.RDBStorage(f"sqlite:///{self.folder / 'optuna.db'}", engine_kwargs=patient)

    @cached_property
    def optuna(self) -> "optuna.Study":
        """The study as Optuna knows it, to look at; made here where no trial has been yet."""
        import optuna

        directions = [_DIRECTION[goal] for goal in self.goals.values()]
        study = optuna.create_study(storage=self.storage(), study_name=self.name, directions=directions, load_if_exists=True)
        share_with_group(self.root)  # the database may be new
        return study

    def all_trials(self) -> list[Trial]:
        """Every trial so far; not those that Optuna asked for twice."""
        found = self.optuna.get_trials(deepcopy=False)
        return [self._trial(one) for one in found if REPEATED not in one.user_attrs and one.state.name in _STATES]

    def _trial(self, found: "FrozenTrial") -> Trial:
        domains = self.search.space
        open_ended = _STATES[found.state.name] in (STOPPED, RUNNING)
        given = zip(self.goals, found.values or (), strict=False)
        return Trial(
            number=found.number,
            state=_STATES[found.state.name],
            values={key: decoded(domains[key], value) for key, value in found.params.items()},
            scores=dict(given),
            reached=None if self.objectives or not open_ended else max(found.intermediate_values, default=0),
            error=found.user_attrs.get(ERROR),
            started=found.datetime_start.timestamp() if found.datetime_start else self.created,
            ended=found.datetime_complete.timestamp() if found.datetime_complete else None,
        )

    def prepare(self, number: int, values: Mapping[str, Any]) -> Path:
        """The folder of a trial: parameters with the values to try, and links to the data and the networks it stands on."""
        folder = self.trial_folder(number)
        if not folder.is_dir():  # else of a study that goes on: the trial finds its own state there
            budget = {"train.max_steps": self.search.max_steps, "train.epochs": None}
            own = {f"{self.network}.{key}": value for key, value in {**budget, **leaves(values)}.items()}
            with whole_folder(folder) as new:
                (new / PARAMS).write_text(changed(self.folder / PARAMS, own), encoding="utf-8")
                (new / "runs").mkdir()
        for name in ("data", *stands_on(self.network, self.search)):
            _link(folder / name, self.root / name)
        return folder

    def told(self, trial: Trial) -> list[dict[str, Any]]:
        """What its training told at each step: once, where a training went on from its last state and told it again, and
        nothing of what it did in the moment before it was ended."""
        steps: dict[int, dict[str, Any]] = {}
        for entry in _entries(self.trial_folder(trial.number)):
            if "train_loss" in entry and (trial.reached is None or entry["step"] <= trial.reached):
                steps.setdefault(entry["step"], entry)
        return [steps[step] for step in sorted(steps)]

    def tidy(self) -> None:
        """Removes what trials that have ended need no more and what is large: weights and states for going on."""
        for trial in self.all_trials():
            if trial.state in ENDED:
                folder = self.trial_folder(trial.number)
                shutil.rmtree(folder / ".syncmri", ignore_errors=True)
                (folder / "runs" / self.network / "weights.safetensors").unlink(missing_ok=True)


def _link(link: Path, target: Path) -> None:
    """A link that still leads there when the project is moved; one that leads elsewhere is replaced."""
    if link.is_symlink():
        if link.resolve() == target.resolve() and not os.path.isabs(os.readlink(link)):
            return
        link.unlink()
    link.symlink_to(os.path.relpath(target.absolute(), link.parent.resolve()), target_is_directory=True)


def stands_on(network: str, search: SearchSettings) -> list[str]:
    """The folders of trained networks that a trial takes over: the segmenters that read mask adherence, and the autoencoders,
    unless the space changes those."""
    if network in ("masks", "segmenter"):
        return []
    return ["runs/segmenter"] if tunes_autoencoder(search) else ["runs/segmenter", "runs/autoencoder"]


def tunes_autoencoder(search: SearchSettings) -> bool:
    """Whether each trial trains an autoencoder of its own."""
    return any(key.partition(".")[0] == "autoencoder" for key in search.space)


def decoded(domain: Domain, value: Any) -> Any:
    """A value as Optuna keeps it, as params.yaml has it: choices of any kind, lists too, are JSON texts there."""
    return value if domain.choices is None else json.loads(value)


def encoded(domain: Domain, value: Any) -> Any:
    """The other way round."""
    return value if domain.choices is None else json.dumps(value)


def unfinished(study: Study) -> bool:
    """Whether there are trials still to come or to end."""
    return sum(trial.state in ENDED for trial in study.all_trials()) < study.trials


def _entries(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of a trial's file, in their order; one cut short by a kill is left out."""
    path = folder / ENTRIES
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue
