"""Runs a study with Ray Tune, on this machine or on the cluster of ``RAY_ADDRESS``."""

import logging
import os
import shutil
from dataclasses import dataclass

from filelock import FileLock, Timeout

from cmr.errors import DataError
from mlops.cluster import joined
from mlops.tuning.study import ENDED, Study

LOST = 2  # times that a trial's process may be killed, or its node be gone, before the trial has failed
_AT_ONCE = 4  # a study of N trials runs N / 4 at the same time, so that later ones learn from earlier ones
_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a table and a JSON file a trial: all of it is in Optuna and MLflow
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that failed has no score
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",  # a trial that is waited for in its step cannot end itself
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class Share:
    """What each trial gets of the machine or cluster, and how many run at once."""

    at_once: int
    cores: int
    gpus: float


def run_study(study: Study, *, minutes: float | None, concurrency: int | None) -> None:
    """Brings a study to its end, or as far as the time allows; trials that are not finished by then go on next time.

    Args:
        minutes: at most.
        concurrency: trials at once; None: as :func:`share_out` finds best.

    Raises:
        DataError: another process works on this study, or the cluster cannot be joined.
    """
    lock = FileLock(study.folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise DataError(f"{study.name}: another process is at work on this study; two would do each trial twice.") from error
    with lock, joined(study.root):
        _run(study, minutes, concurrency)


def _run(study: Study, minutes: float | None, concurrency: int | None) -> None:
    os.environ.update(_QUIET)  # before Tune, which reads them as it is imported
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what it has to tell, each trial tells
    from ray import tune

    from mlops.tuning.searcher import Proposals, make_scheduler
    from mlops.tuning.trial import Supervised
    from mlops.tuning.watch import Progress, Recorder

    ended = sum(trial.state in ENDED for trial in study.all_trials())
    share = share_out(study.trials - ended, concurrency)
    scheduler, scratch, progress = make_scheduler(study), study.folder / "ray", Progress(study)
    shutil.rmtree(scratch, ignore_errors=True)  # Tune's own records, which nobody reads: Optuna's say the same
    tuner = tune.Tuner(
        tune.with_resources(Supervised, {"cpu": share.cores, "gpu": share.gpus}),
        param_space={
            "network": study.network,
            "objectives": list(study.objectives),
            "silence": 60 * study.search.silence_minutes,
        },
        tune_config=tune.TuneConfig(
            search_alg=Proposals(study, scheduler),
            scheduler=scheduler,
            num_samples=study.trials - ended,
            max_concurrent_trials=share.at_once,
            time_budget_s=None if minutes is None else 60 * minutes,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=study.name,
            storage_path=str(scratch),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the training keeps its own state
            failure_config=tune.FailureConfig(max_failures=LOST),
            callbacks=[Recorder(study), progress],
            verbose=0,
        ),
    )
    tuner.fit()
    progress.close()


def share_out(trials: int, concurrency: int | None) -> Share:
    """How the cluster that Ray has joined is shared among that many trials.

    With GPUs one trial each, more at once share them. Without, cores are dealt evenly; no trial gets more than one node has.

    Raises:
        DataError: more trials at once are asked for than there are cores.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores, gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
    if concurrency is not None and concurrency > cores:
        raise DataError(f"--concurrency {concurrency}: there are {cores} cores, and a trial needs at least one.")
    at_once = concurrency or min(trials, gpus or max(2, trials // _AT_ONCE), cores)
    most = max(int(node.get("CPU", 0)) for node in nodes)
    return Share(
        at_once=at_once,
        cores=max(1, min(cores // at_once, most)),
        gpus=0 if not gpus else 1 if gpus >= at_once else gpus / at_once,
    )
