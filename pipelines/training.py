"""What the training stages share: where they train, state for resuming, the folder of the trained network, its tracking."""

import dataclasses
import datetime
import hashlib
import importlib
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock
from torch import nn

from cmr.files import whole_folder
from cmr.store import SliceStore
from mlops.cluster import wanted
from mlops.release import DRAWN, DRAWN_STEPS
from mlops.tracking import LiveRun, record_network
from models.checkpoint import save_network
from models.config import TrainSettings
from models.data import SliceBatches
from models.device import pick_device
from models.parallel import Team
from models.train import Entry, Loss, Trained, train
from pipelines.stage import ROOT, STATE, say, write_json

Pictures = Callable[[Any, Path], None]


@dataclasses.dataclass(frozen=True)
class Job:
    """One network to train.

    Attributes:
        name: its folder under ``runs/``.
        kind: ``masks``, ``autoencoder``, ``generator``, ``control`` or ``segmenter``.
        config: settings of the network; ``build`` makes the network of it.
        stores: every slice store that the training reads, by path.
        params: settings that shape the result beside ``config`` and ``train``.
        loss: given the network, the loss for the loop.
        validate: scores the network, higher is better.
        picture: writes a PNG of what was drawn and scored last, without any real slice or mask, since it goes to the tracking
            server; one is kept of each validation.
        pictures: writes PNGs of the trained network, and what else belongs to it, into its folder.
        measure: further figures of the trained network, for ``run.json``.
    """

    name: str
    kind: str
    build: Callable[[Any], nn.Module]
    config: Any
    train: TrainSettings
    batches: SliceBatches
    stores: Mapping[str, SliceStore]
    params: Mapping[str, Any]
    seed: int
    loss: Callable[[Any], Loss]
    validate: Callable[[Any], float] | None = None
    picture: Callable[[Path], None] | None = None
    pictures: Pictures | None = None
    measure: Callable[[Any], dict[str, Any]] | None = None


def train_stage(stage: str, *words: str) -> None:
    """Trains the job that a stage's module makes of these words: in this process, or by the workers of a cluster, which make
    the job themselves (see :func:`mlops.cluster.wanted`)."""
    if not wanted(ROOT):
        _train(stage, *words)
        return
    from mlops.workers import train_on_cluster

    train_on_cluster(_train, [stage, *words], label=" ".join([stage.rpartition(".")[2], *words]), root=ROOT)


def _train(stage: str, *words: str) -> None:
    train_job(importlib.import_module(stage).job(*words))


def train_job(job: Job, *, on_entry: Callable[[Entry], None] | None = None) -> None:
    """Trains, or goes on training, and writes ``runs/NAME`` as a whole; the figures go to the tracking server as they come.

    Args:
        on_entry: is told each entry of the history instead of the tracking server.
    """
    about, team = _describe(job), Team.mine()
    state = STATE / "state" / f"{job.name.replace('/', '-')}-{about['run_key'][:16]}.pt"
    state.parent.mkdir(parents=True, exist_ok=True)
    # A killed `dvc repro` can leave its stage running: whoever comes second waits, then goes on from the first one's state.
    with FileLock(state.with_suffix(".lock")) if team.leads else nullcontext():
        team.wait()  # the leader may have waited for another's lock, and that one have saved a later state meanwhile
        torch.manual_seed(job.seed)
        network = job.build(job.config).to(pick_device())
        live = LiveRun(ROOT, about) if on_entry is None else None
        seen = state.with_suffix(".pictures")

        def record(entry: Entry) -> None:
            if on_entry:
                on_entry(entry)
            if live:
                live.log(entry.step, _curve(entry))
            if job.picture and entry.validation == entry.validation:
                seen.mkdir(exist_ok=True)
                job.picture(picture := seen / f"step-{entry.step:06d}.png")
                if live:
                    live.picture(picture)

        trained = train(
            network,
            job.loss(network),
            job.batches,
            job.train,
            seed=job.seed,
            state=state,
            validate=job.validate,
            on_epoch=record,
            label=job.name,
        )
        if not team.leads:
            return
        network.load_state_dict(trained.weights)
        with whole_folder(Path("runs") / job.name) as folder:
            _write(folder, job, network.eval(), trained, about)
            if seen.is_dir():
                shutil.copytree(seen, folder / DRAWN_STEPS)
                shutil.copyfile(seen / f"step-{trained.best_step:06d}.png", folder / DRAWN)
        if live:
            live.close()
        for leftover in state.parent.glob(f"{state.stem}.*"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            elif leftover.suffix != ".lock":
                leftover.unlink()
    if live:
        record_network(ROOT, job.name)
    scored = f", best score {trained.best_score:.3f} at step {trained.best_step}" if job.validate else ""
    last = trained.history[-1]
    say(f"{job.name}: {last.step} steps in {trained.seconds:.0f} s, loss {last.train_loss:.4f}{scored}")


def _describe(job: Job) -> dict[str, Any]:
    """``run.json`` before the training; ``run_key`` is made of all that decides the result, so that it names the result."""
    params = {"network": dataclasses.asdict(job.config), "train": dataclasses.asdict(job.train), **job.params}
    data = {path: store.digest() for path, store in job.stores.items()}
    decides = {"name": job.name, "params": params, "data": data, "seed": job.seed}
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return {**decides, "kind": job.kind, "run_key": key, "slices": {path: len(store) for path, store in job.stores.items()}}


def _write(folder: Path, job: Job, network: nn.Module, trained: Trained, about: dict[str, Any]) -> None:
    save_network(folder, job.config, trained.weights)
    pd.DataFrame([dataclasses.asdict(entry) for entry in trained.history]).to_csv(folder / "history.csv", index=False)
    facts = {
        "steps": trained.history[-1].step,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "seconds": round(trained.seconds, 1),
        "device": _device_name(),
        "best": {"step": trained.best_step, "score": trained.best_score if job.validate else None},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    measured = job.measure(network) if job.measure else {}
    write_json(folder / "run.json", about | facts | measured)
    if job.pictures:
        job.pictures(network, folder)


def _curve(entry: Entry) -> dict[str, float]:
    return {name: value for name, value in dataclasses.asdict(entry).items() if name != "step" and value == value}


def _device_name() -> str:
    device = pick_device()
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
