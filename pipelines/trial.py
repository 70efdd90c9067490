"""One trial of a sweep, in its folder: ``python -m pipelines.trial NET`` trains by the parameters there and says how it went.

By hand the same command shows why a trial failed.
"""

import dataclasses
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmr.errors import DataError
from mlops.settings import GeneratorsSettings, section
from mlops.tuning.space import WITH_INCEPTION, SearchSettings
from mlops.tuning.study import ENTRIES, FAILED, FINISHED, tunes_autoencoder
from pipelines.stage import run

if TYPE_CHECKING:
    from models.train import Entry
    from pipelines.training import Job

_LOOK = 1.0  # seconds


def main(network: str, *objectives: str) -> None:
    """Trains and scores; the last line of ``entries.jsonl`` is the outcome.

    Args:
        network: ``masks``, ``segmenter`` or a generator.
        objectives: measured of the trained network; none: its best validation score is all there is to say.
    """
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    try:
        _tell(outcome=FINISHED, **_trial(network, objectives))
    except Exception as error:  # the sweep records any failure of a trial, and the trial still fails
        _tell(outcome=FAILED, error=f"{type(error).__name__}: {error}")
        raise


def _trial(network: str, objectives: tuple[str, ...]) -> dict[str, Any]:
    from pipelines.training import train_job

    search = section(f"{network}.search", SearchSettings)
    for job in _jobs(network, search):
        record = Path("runs") / job.name / "run.json"
        if not record.is_file():  # else a process before this one was killed after the training
            train_job(job, on_entry=_teller(scored=job.kind != "autoencoder"))
    trained = json.loads(record.read_text())
    told = {"step": trained["steps"], "score": trained["best"]["score"]}
    if told["score"] is None:
        raise DataError("there is no validation patient to score the trial by")
    if objectives:
        from pipelines.objectives import measure

        told |= measure(network, objectives, search.images)
    return told


def _jobs(network: str, search: SearchSettings) -> "Iterator[Job]":
    """The trainings of a trial, one after the other: its own autoencoder, where the space changes that, and the network."""
    from pipelines import segment, train_autoencoder, train_generator, train_masks

    if tunes_autoencoder(search):
        yield train_autoencoder.job(network)
    if network == "masks":
        job = train_masks.job()
    elif network == "segmenter":
        job = segment.job(f"{section('generators', GeneratorsSettings).train_on[0]}-real")
    else:
        job = train_generator.job(network)
    if search.metric == WITH_INCEPTION:
        from pipelines.objectives import Kid

        kid = Kid(network, search.images)
        job = dataclasses.replace(job, validate=lambda trained: -kid(trained), picture=None)
    yield dataclasses.replace(job, validate=_finite(job.validate) if job.validate else None)


def _finite(validate: Callable[[Any], float]) -> Callable[[Any], float]:
    def checked(network: Any) -> float:
        score = validate(network)
        if not math.isfinite(score):
            raise ValueError(f"the validation score is {score}")
        return score

    return checked


def _teller(scored: bool) -> "Callable[[Entry], None]":
    """Tells each entry of a training; with its best score so far where that is the trial's own."""
    best: list[float] = []

    def tell(entry: "Entry") -> None:
        known = {name: value for name, value in dataclasses.asdict(entry).items() if math.isfinite(value)}
        if scored and "validation" in known:
            best[:] = [max([*best, entry.validation])]
            known["score"] = best[0]
        _tell(**(known if scored else {"autoencoder_step": entry.step}))

    return tell


def _tell(**entry: Any) -> None:
    with Path(ENTRIES).open("a") as file:
        file.write(json.dumps(entry, allow_nan=False) + "\n")


def _end_with(parent: int) -> None:
    """Ends this process when the one that started it is gone: nobody would hear of the outcome."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


if __name__ == "__main__":
    run(main)
