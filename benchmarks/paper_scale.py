"""The paper's networks on given slices, on a bare machine: trained, drawn from, evaluated, in stages that resume.

    python -m benchmarks.paper_scale export --project . --data FOLDER     # where the project is: slices and settings
    sh benchmarks/paper_scale.sh --data FOLDER --out OUT                  # on the bare machine, again until it is finished
    python -m benchmarks.paper_scale score --data FOLDER --out OUT        # back home: FID and KID, whose weights lie there

A call of `run` ends after --minutes with its state written and the line `not finished`, exit status 0: the same command again
goes on. All state lies in OUT, and OUT/results.json and OUT/results.md say what there is so far. `run` needs torch, monai,
diffusers, safetensors and what these require, nothing else, and no network access.
"""

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

STARTED = time.monotonic()  # before torch, whose import counts

import torch  # noqa: E402

from benchmarks.paper import drawing, judging, training  # noqa: E402
from benchmarks.paper.results import write_results  # noqa: E402
from benchmarks.paper.work import SOURCES, Given, Stage, Work, facts_of, write_json  # noqa: E402
from cmr.errors import DataError  # noqa: E402
from models.device import has_bf16, pick_device  # noqa: E402
from models.train import OutOfTimeError  # noqa: E402

RESERVE = 45.0  # seconds that writing a state of the largest network may take, or a tenth of a shorter limit
SMALLEST = Given(steps=4, images=8, few_steps=True)


@dataclass(frozen=True)
class Peak:
    """What the device does at most: FLOP/s of a large product of matrices in the training's precision, measured here."""

    flops: float
    kind: str


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    export, run, score = (verbs.add_parser(name) for name in ("export", "run", "score"))
    for verb in (export, run, score):
        verb.add_argument("--data", type=Path, required=True, help="the folder with slices and settings")
    for verb in (run, score):
        verb.add_argument("--out", type=Path, required=True, help="where all that is made is kept")
    export.add_argument("--project", type=Path, default=Path("."))
    export.add_argument("--patients", type=int, default=None, help="at most so many of each set (all)")
    run.add_argument("--minutes", type=float, default=8.0, help="after which a call ends (8)")
    run.add_argument("--steps", type=int, default=None, help="at most so many of each training (the settings')")
    run.add_argument("--images", type=int, default=None, help="at most so many of each set drawn (as many as training slices)")
    run.add_argument("--few-steps", action="store_true", help="draw with the steps that checkpoints are chosen with")
    run.add_argument("--smallest", action="store_true", help=f"only to see that it runs: {SMALLEST}")
    given = parser.parse_args()
    if given.verb == "export":
        from benchmarks.paper.export import export as write  # needs the whole project

        write(given.project, given.data, given.patients)
    elif given.verb == "score":
        from benchmarks.paper.home import score as add

        add(given.data, given.out)
        write_results(given.data, given.out)
    else:
        limit = given.minutes * 60
        wanted = SMALLEST if given.smallest else Given(given.steps, given.images, given.few_steps)
        run_all(Work(given.data, given.out, wanted, deadline=STARTED + limit - min(RESERVE, limit / 10)))


def run_all(work: Work) -> None:
    """Every stage that is not done yet, in order, until the deadline."""
    _agree(work)
    todo = stages(work)
    try:
        for number, (name, stage) in enumerate(todo.items(), 1):
            if facts_of(work.out, name) is None:
                work.check_time(name)
                print(f"[{number}/{len(todo)}] {name}", flush=True)
                write_json(work.out / name / "facts.json", stage())
    except OutOfTimeError as error:
        write_results(work.data, work.out)
        print(f"not finished: {error}. Give the same command again to go on.", flush=True)
        return
    write_results(work.data, work.out)
    print(f"finished: {work.out / 'results.md'}", flush=True)


def stages(work: Work) -> dict[str, Stage]:
    """In the order in which they need each other."""
    names = list(work.settings["generators"])
    found: dict[str, Stage] = {
        "masks": lambda: training.train_masks(work),
        "segmenter-real": lambda: training.train_segmenter(work, None),
    }
    for name in names:
        if work.settings["generators"][name]["autoencoder"] is not None:
            found[f"{name}-autoencoder"] = lambda name=name: training.train_autoencoder(work, name)
        found[name] = lambda name=name: training.train_generator(work, name)
    found["sample-masks"] = lambda: drawing.sample_masks(work)
    for name in names:
        for source in SOURCES:
            found[f"sample-{name}-{source}"] = lambda name=name, source=source: drawing.sample_images(work, name, source)
            found[f"segmenter-{name}-{source}"] = lambda pair=(name, source): training.train_segmenter(work, pair)
    for name in names:
        found[f"judge-{name}"] = lambda name=name: judging.judge_network(work, name)
        for source in SOURCES:
            found[f"judge-{name}-{source}"] = lambda pair=(name, source): judging.judge_images(work, *pair)
    found["judge-real"] = lambda: judging.judge_real(work)
    return found


def _agree(work: Work) -> None:
    """Writes what is run and where, at the first call; :class:`DataError` where a later call is given something else."""
    wanted = {"given": asdict(work.given), "settings": work.settings}
    machine, path = _machine(), work.out / "run.json"
    if not path.exists():
        write_json(path, {**wanted, "machine": machine, "peak": asdict(measured_peak(work.device))})
    found = json.loads(path.read_text())
    if odd := [name for name, value in json.loads(json.dumps(wanted)).items() if found[name] != value]:
        raise DataError(f"{work.out}: begun with other {' and '.join(odd)}; give the same ones, or another --out")
    if found["machine"]["device"] != machine["device"]:
        raise DataError(f"{work.out}: begun on {found['machine']['device']}, this is {machine['device']}; give another --out")


def _machine() -> dict[str, Any]:
    device = pick_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    packages = {package: version(package) for package in ("torch", "monai", "diffusers", "safetensors", "numpy")}
    return {"device": name, "cuda": torch.version.cuda, "python": platform.python_version(), "packages": packages}


def measured_peak(device: torch.device) -> Peak:
    """The best of ten products of two square matrices of random numbers, in bfloat16 where the device has it."""
    kind = torch.bfloat16 if has_bf16(device) else torch.float32
    size = 8192 if device.type == "cuda" else 2048
    one, other = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        (one @ other)[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return Peak(2 * size**3 / min(seconds), str(kind).removeprefix("torch."))


if __name__ == "__main__":
    main()
