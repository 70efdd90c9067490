"""What the membership attack reads of a network, in batches, against image by image.

    python -m benchmarks.membership [--quick] [--project DIR]    # the paper's networks; quick: those of the profile real

Both ways read all signals at the profile paper's times and noises, the plain one an image at a time; both are timed on a few
images and told for a thousand. The images are random: no step depends on what they show. The attack stays in float32 where the
project's does; bfloat16 is timed beside it, and with the trained networks of a project, which is only read, the AUC of either
precision is told.
"""

import contextlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import agree, arguments, compare, finish, repeats, report
from cmr.labels import CLASSES
from cmr.store import SliceStore
from evaluation.privacy.membership import Signals
from evaluation.privacy.membership.blind import blind_features
from evaluation.privacy.membership.figures import Evidence, kinds_of_slices, match_members, membership_figures
from evaluation.privacy.membership.settings import MembershipSettings
from evaluation.privacy.membership.signals import read_signals
from evaluation.statistics import IntervalSettings
from mlops.profiles import merged
from mlops.settings import check, find_root, generator_config, lookup, section
from models.checkpoint import load_network
from models.config import Precision
from models.device import pick_device
from models.registry import generator_class

THOUSAND = 1000
PLAIN = 1  # images that the plain way reads
TOLERANCE = 1e-3  # of mean squares about 1, in float32: the order of sums differs between batches
ATTACKS = ("naive", "coarse", "pia", "frequency")
SIGNALS = ("naive", "frequency", "coarse", "dissimilarity", "pia")


def main() -> None:
    """Prints and records the figures; see the module."""
    parser = arguments(__doc__)
    parser.add_argument("--project", type=Path, help="a finished project, whose networks are attacked in both precisions")
    given = parser.parse_args()
    params = merged(find_root(), "real" if given.quick else "paper")
    settings: MembershipSettings = check(
        lookup(merged(find_root(), "paper"), "privacy.membership"), MembershipSettings, "privacy.membership"
    )
    if given.quick:
        settings = replace(settings, noises=2, batch=4)
    for name in lookup(params, "generators.names"):
        network = generator_class(name)(generator_config(params, name)).to(pick_device())
        aucs = told_aucs(given.project, name) if given.project else "AUC in bfloat16 not compared: no trained networks given"
        speed(name, network, params["slices"]["size"], settings, repeats(given, usual=3, quick=2), aucs)
    finish(given)


def speed(name: str, network: Any, size: int, settings: MembershipSettings, turns: int, aucs: str) -> None:
    """A row for float32, which the project's attack reads in, and one for bfloat16."""
    count = min(settings.batch, 8 if pick_device().type == "cpu" else settings.batch)
    images, masks = random_slices(count, size)
    read = partial(signals, network, settings=settings)

    def plain() -> Signals:
        return read(images[:PLAIN], masks[:PLAIN], batch=1)

    expected = plain()
    for precision, tolerance in (("float32", TOLERANCE), ("bf16", np.inf)):
        ours = partial(read, images, masks, batch=count, precision=precision)
        differ = agree("signals", flat(ours())[:PLAIN], flat(expected), tolerance)
        report(
            f"membership {name}, {precision}",
            compare(plain, ours, repeats=turns, agreement=differ, factor=count / PLAIN, warm=False),
            goal=1,
            work=f"seconds for {THOUSAND} images of {size} px × {settings.noises} noises × {len(settings.times)} times, timed "
            f"on {count} in one batch; plain: one at a time, float32, on {PLAIN}; {aucs}",
            limit="one image already keeps the processor busy; SSIM and spectra are float32 in either precision",
            unit=count / THOUSAND,
        )


def signals(
    network: Any,
    images: NDArray,
    masks: NDArray,
    *,
    settings: MembershipSettings,
    batch: int,
    precision: Precision = "float32",
    seed: int = 0,
) -> Signals:
    grid: dict[str, Any] = {"times": settings.times, "noises": settings.noises, "seed": seed, "batch": batch}
    return read_signals(network, images, masks, **grid, precision=precision)


def flat(found: Signals) -> NDArray[np.float64]:
    """All signals of each slice in one row."""
    return np.concatenate([getattr(found, name) for name in SIGNALS], axis=1)


def random_slices(count: int, size: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (count, size, size)).astype(np.float32)
    return images, rng.integers(CLASSES, size=(count, size, size), dtype=np.uint8)


def told_aucs(root: Path, name: str) -> str:
    """AUC of every attack on a project's network, in float32 and bfloat16."""
    with contextlib.chdir(root):  # settings and stores are found from here; nothing is written
        settings, seed = section("privacy.membership", MembershipSettings), section("seed", int)
        intervals = section("evaluation", IntervalSettings)
        train, unseen = (SliceStore.open(f"data/cohort/{split}") for split in ("train", "holdout"))
        match = match_members(train.index, unseen.index, seed, slices=settings.slices)
        sides = [store.select(rows) for store, rows in ((train, match.members), (unseen, match.nonmembers))]
        network = load_network(Path("runs") / name, generator_class(name), pick_device())

        def evidence(precision: Precision) -> list[Evidence]:
            return [
                Evidence(
                    signals(network, images, masks, settings=settings, batch=settings.batch, precision=precision, seed=seed),
                    blind_features(images),
                    side.index["subject"].to_numpy(),
                    kinds_of_slices(side.index),
                )
                for side, images, masks in ((side, np.asarray(side.images), np.asarray(side.masks)) for side in sides)
            ]

        both = [membership_figures(*evidence(of), intervals=intervals, seed=seed)["attacks"] for of in ("float32", "bf16")]
    told = [f"{attack} {both[0][attack]['auc'].value:.3f} → {both[1][attack]['auc'].value:.3f}" for attack in ATTACKS]
    return f"AUC of a trained network, float32 → bfloat16: {', '.join(told)}"


if __name__ == "__main__":
    main()
