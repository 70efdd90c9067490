"""A sweep of one network: ``python -m pipelines.tune NET …``, what ``syncmri tune`` starts, and the stage ``tune@NET``.

Trials are proposed by Optuna and run by Ray Tune; what came out lies in ``reports/sweeps``.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from cmr.errors import DataError
from cmr.files import whole_folder
from cmr.store import SliceStore
from mlops.settings import GeneratorsSettings, load_params, section
from mlops.tuning.results import best, front, importance, line, table
from mlops.tuning.space import WITH_INCEPTION, SearchSettings
from mlops.tuning.studies import create, extended, load
from mlops.tuning.study import ENDED, REPORTS, SWEEPS, Study, stands_on, unfinished
from pipelines.stage import ROOT, run, say

STAGE = "stage"


def main(*words: str) -> None:
    asked = _parse(words)
    study = _study(asked)
    if not unfinished(study):
        say(f"{study.name}: all {study.trials} trials have ended; more of them: --resume {study.name} --trials N")
    else:
        study = _run(study, asked)
    _report(study)
    if asked.stage:
        with whole_folder(REPORTS / asked.network) as folder:
            shutil.copytree(study.report, folder, dirs_exist_ok=True)


def _parse(words: tuple[str, ...]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m pipelines.tune")
    parser.add_argument("network")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--time", type=float, dest="minutes")
    parser.add_argument("--concurrency", type=int)
    parser.add_argument("--several", action="store_true", help="weigh search.objectives against one another")
    parser.add_argument("--resume", metavar="STUDY", help="go on with this study")
    parser.add_argument("--stage", action="store_true", help="go on with the study of these very parameters and data")
    return parser.parse_args(words)


def _study(asked: argparse.Namespace) -> Study:
    if asked.resume:
        study = load(ROOT, asked.resume)
        if study.network != asked.network:
            raise DataError(f"{study.name} is a study of {study.network}, not of {asked.network}.")
        _check(study.network, study.search, study.objectives)
        return study if asked.trials is None else extended(study, asked.trials)
    search = section(f"{asked.network}.search", SearchSettings)
    _check(asked.network, search, search.objectives if asked.several else ())
    name = f"{asked.network}-{STAGE}-{_digest(asked.network)}" if asked.stage else None
    if name and (SWEEPS / name).is_dir():
        return load(ROOT, name)
    return create(ROOT, asked.network, several=asked.several, trials=asked.trials, name=name)


def _digest(network: str) -> str:
    """Of all that a study of this network is made of: the stage goes on with one that was killed, and with no other."""
    params = {key: load_params().get(key) for key in (network, "seed", "augment", "validation", "privacy")}
    data = {str(path): SliceStore.open(path).digest() for path in sorted(Path("data/cohort").iterdir())}
    return hashlib.sha256(json.dumps([params, data], sort_keys=True).encode()).hexdigest()[:8]


def _check(network: str, search: SearchSettings, objectives: Sequence[str]) -> None:
    """Raises DataError unless everything is there that a trial needs: better now than in every trial."""
    generators = section("generators", GeneratorsSettings)
    real = f"{generators.train_on[0]}-real"
    needed = {"data/cohort/train": "cohort"}
    if network == "segmenter":
        needed = {f"data/sets/{real}": f"slices@{generators.train_on[0]}"}
    folders = stands_on(network, search)
    if "runs/segmenter" in folders:
        needed[f"runs/segmenter/{real}"] = f"segment@{real}"
    if "runs/autoencoder" in folders:
        needed[f"runs/autoencoder/{network}"] = f"train_autoencoder@{network}"
    if missing := {path: stage for path, stage in needed.items() if not Path(path).is_dir()}:
        raise DataError(
            f"A sweep of {network} needs {', '.join(missing)}, which is not there yet: "
            f"`syncmri run {' '.join(dict.fromkeys(missing.values()))}` makes it."
        )
    if WITH_INCEPTION in (search.metric, *objectives):
        from evaluation.networks.weights import obtain

        obtain("inception-fid")  # whose error says what to do


def _run(study: Study, asked: argparse.Namespace) -> Study:
    """The study as it is then: it is shorter where its space is used up."""
    from mlops.tuning.run import run_study  # Ray: seconds

    going_on = sum(trial.state in ENDED for trial in study.all_trials())
    judged = ", ".join(study.objectives) if study.objectives else study.search.metric
    say(f"{study.name}: {study.trials} trials of {study.network} ({going_on} have ended), judged by {judged}")
    run_study(study, minutes=asked.minutes, concurrency=asked.concurrency)
    wanted, study = study.trials, load(ROOT, study.name)
    if study.trials < wanted:
        say(f"{study.name}: after {study.trials} trials there is nothing left to try in this space")
    if unfinished(study):
        say(f"{study.name}: stopped before the end; `syncmri tune {study.network} --resume {study.name}` goes on from here")
    return study


def _report(study: Study) -> None:
    """Table and figures in ``reports/sweeps/STUDY``, the best in words, and all of it in MLflow."""
    from mlops.tuning.record import bring
    from pipelines.draw_sweep import draw

    study.tidy()
    trials, weights = study.all_trials(), importance(study)
    with whole_folder(study.report) as folder:
        table(study, trials).to_csv(folder / "trials.csv", index=False)
        weights.to_csv(folder / "importance.csv", index=False)
        draw(study, trials, weights, folder)
    bring(study)
    leading = front(study, trials) if study.objectives else [one for one in [best(study, trials)] if one]
    for trial in leading:
        say(("front: " if study.objectives else "best: ") + line(study, trial))
    if leading:
        chosen = "" if len(leading) == 1 and not study.objectives else " --trial N"
        say(f"Report: {study.report}. To take the values over into params.yaml: syncmri tune apply {study.name}{chosen}")
    else:
        print(f"{study.name}: no trial has finished; `syncmri tune show {study.name}` says why", file=sys.stderr)


if __name__ == "__main__":
    run(main)
