"""Times stages of the pipeline with no cluster, with one worker and with two; writes scaling.json and docs/scaling.md.

    python -m benchmarks.scaling                                                      # an hour or so on two idle cores
    python -m benchmarks.scaling --repeats 1 --patients 6 --steps 20 --trials 2 --out look.json    # a look

Preprocessing, training, sampling and tuning of masks, on the demo's phantoms and networks, in a project folder of its own. A
worker has one core and one thread. The three ways take turns, so that a machine that slows down slows all of them. A ratio is
of two neighbouring timings; whole stages are timed, from the start of their process to its end, on a cluster that is up.
A sweep always goes through Ray: with no cluster it starts its own, and one trial at a time has all cores.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import page
from benchmarks.stages import parameters, project, run
from mlops.settings import PARAMS

SCALING = Path("benchmarks/scaling.json")
PREPARED = ["phantom acdc", "phantom mnms", "ingest acdc", "ingest mnms", "preprocess acdc", "preprocess mnms"]
PREPARED += ["slices acdc", "slices mnms", "cohort", "train_masks"]
TIMED = {
    "preprocessing": "preprocess mnms",
    "training": "train_masks",
    "sampling": "sample_masks",
    "tuning": "tune masks",
}
WAYS = {"no cluster": 0, "1 worker": 1, "2 workers": 2}
STORE = 200_000_000  # bytes of the object store: nothing large travels


def main() -> None:
    """Prints and writes the figures; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patients", type=int, default=40, help="training patients of the larger phantom")
    parser.add_argument("--steps", type=int, default=400, help="of a training")
    parser.add_argument("--trials", type=int, default=4, help="of the sweep")
    parser.add_argument("--out", type=Path, default=SCALING)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers too: Ray hands it on
    with TemporaryDirectory(prefix="syncmri-benchmark-") as folder:
        root = prepared(Path(folder) / "project", given)
        seconds: dict[str, dict[str, list[float]]] = {what: {way: [] for way in WAYS} for what in TIMED}
        for repeat in range(given.repeats):
            for way, workers in WAYS.items():
                with cluster(workers) as environment:
                    for what, stage in TIMED.items():
                        seconds[what][way].append(timed(root, stage, workers, given.trials, environment))
                        print(f"{what}, {way}: {seconds[what][way][-1]:.1f} s ({repeat + 1} of {given.repeats})", flush=True)
    found = {what: {"seconds": ways, **ratios(ways)} for what, ways in seconds.items()}
    settings = {name: value for name, value in vars(given).items() if name != "out"}
    machine = f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    given.out.write_text(json.dumps({"machine": machine, "settings": settings, "stages": found}, indent=1) + "\n")
    print(table(found))
    if given.out == SCALING:
        page.write(page.SCALING, "scaling.py", table(found))
    print(f"Wrote {given.out}")


def prepared(root: Path, given: argparse.Namespace) -> Path:
    """A project with the demo's settings, as far as the stages that are timed need it."""
    sets = {
        "phantom.patients.mnms": f"{{training: {given.patients}, validation: 3, testing: 2}}",
        "phantom.patients.acdc": "{training: 3, testing: 4}",
        "privacy.holdout.minimum_patients": "3",
        "preprocess.workers": "1",
        "preprocess.n4.iterations": "[50, 50]",  # real scans' effort: a phantom's would be over at once
        "masks.train.max_steps": str(given.steps),
        "masks.train.validations": "1",  # at the end: no trial is stopped before it, and all do the same work
        "masks.search.max_steps": str(given.steps),
        "masks.search.space": "{train.learning_rate: {low: 1.0e-3, high: 5.0e-3, log: true}}",
    }
    project(root, sets)
    for workers in sorted(set(WAYS.values())):
        shutil.copyfile(parameters(root, sets | {"train.workers": str(max(1, workers))}), params_of(root, workers))
    for stage in PREPARED:
        print(f"preparing: {stage}", flush=True)
        run(root, stage)
    return root


def params_of(root: Path, workers: int) -> Path:
    return root / f"params-{workers}.yaml"


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[dict[str, str]]:
    """A node with so many cores, and the environment that leads there; none for 0."""
    if not workers:
        yield {}
        return
    import ray

    found = ray.init(num_cpus=workers, object_store_memory=STORE, include_dashboard=False, log_to_driver=False)
    try:
        yield {"RAY_ADDRESS": found.address_info["gcs_address"]}
    finally:
        ray.shutdown()


def timed(root: Path, stage: str, workers: int, trials: int, environment: dict[str, str]) -> float:
    """Seconds of a stage, done as if for the first time."""
    shutil.copyfile(params_of(root, workers), root / PARAMS)
    shutil.rmtree(root / ".syncmri" / "cache", ignore_errors=True)
    words = f" --trials {trials} --concurrency {workers or 1}" if stage.startswith("tune") else ""
    return run(root, stage + words, environment).seconds


def ratios(ways: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median, least and most of what each repeat gives.

    ``cost_of_ray``: one worker on a cluster against none. ``speed_up``: one worker against two; ``efficiency``: half of that.
    """
    alone, one, two = (np.array(ways[way]) for way in WAYS)
    found = {"cost_of_ray": one / alone, "speed_up": one / two, "efficiency": one / two / 2}
    return {name: dict(zip(("median", "least", "most"), summary(values), strict=True)) for name, values in found.items()}


def summary(values: Any) -> tuple[float, float, float]:
    return round(float(np.median(values)), 3), round(float(values.min()), 3), round(float(values.max()), 3)


def table(found: dict[str, dict[str, Any]]) -> str:
    """In Markdown: the median seconds of each way, then the ratios with their spread."""
    lines = [f"| | {' | '.join(WAYS)} | cost of Ray | efficiency of two workers |", "|---|" + "---|" * (len(WAYS) + 2)]
    for what, row in found.items():
        times = [f"{np.median(row['seconds'][way]):.0f} s" for way in WAYS]
        spreads = [row[name] for name in ("cost_of_ray", "efficiency")]
        cells = [f"{one['median']:.2f} ({one['least']:.2f} to {one['most']:.2f})" for one in spreads]
        lines.append(f"| {what} | {' | '.join([*times, *cells])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
