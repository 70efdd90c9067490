"""Times the neighbour search against a network pass for every pair (LPIPS), and against one pair at a time (L2).

    python -m benchmarks.neighbours                                    # 1000 × 1000 slices of 128 pixels
    python -m benchmarks.neighbours --images 50 --size 64 --repeats 2  # a look

What the naive way takes is measured on ``--sample`` pairs and extrapolated to all; such rows say so. Before anything is timed,
both ways must agree on the sample. The images are random: no step depends on what they show. LPIPS needs its weights
(``syncmri weights fetch``) and, for features on disk, 4 MB an image of 128 pixels.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from cmr.errors import DataError
from evaluation.privacy.search import Distance, PatientDistances, image_distance, patient_distances, squared_distance

BLOCK = 512
SLICES_A_PATIENT = 16
PAIRS_A_PASS = 16  # pairs in one batch of the network: the naive way at its best
TOLERANCE = 1e-3  # of LPIPS: float16 features lose up to 1e-4, and the network another 1e-4 between batch sizes

Row = tuple[str, list[float], str]


def main() -> None:
    """Prints the table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="synthetic slices, and as many real ones")
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--sample", type=int, default=64, help="pairs that the naive way is timed on")
    parser.add_argument("--repeats", type=int, default=3, help="timings of each row")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    queries, reference = (rng.uniform(-1, 1, (given.images, given.size, given.size)).astype(np.float32) for _ in range(2))
    pairs = rng.integers(given.images, size=(2, given.sample))
    print(f"{given.images} × {given.images} slices of {given.size} pixels, median (least – most) of {given.repeats} timings")
    print_table(l2_rows(queries, reference, pairs, given.repeats))
    try:
        print_table(lpips_rows(queries, reference, pairs, given.repeats))
    except DataError as error:
        print(f"LPIPS was not timed: {error}")


def l2_rows(queries: NDArray, reference: NDArray, pairs: NDArray, repeats: int) -> list[Row]:
    """Naive, then ours."""

    def naive() -> NDArray[np.float64]:
        return np.array([np.sqrt(np.sum((queries[i].astype(np.float64) - reference[j]) ** 2)) for i, j in pairs.T])

    expected = naive()
    check("L2", image_distance(queries, reference)[*pairs], expected, 1e-9 * expected.max())
    return [
        extrapolated("L2, a pair at a time", naive, pairs, queries, reference, repeats),
        ("L2, search in blocks", timed(lambda: search(queries, reference, image_distance), repeats), "measured"),
    ]


def lpips_rows(queries: NDArray, reference: NDArray, pairs: NDArray, repeats: int) -> list[Row]:
    """Naive, then ours: features of all images and the search in them, from nothing to the neighbours."""
    import torch

    from evaluation.networks.lpips import LpipsNetwork

    network = LpipsNetwork("vgg")

    def naive() -> NDArray[np.float64]:
        values = []
        for start in range(0, pairs.shape[1], PAIRS_A_PASS):
            chosen = pairs[:, start : start + PAIRS_A_PASS]
            sides = (torch.from_numpy(images[rows])[:, None] for images, rows in zip((queries, reference), chosen, strict=True))
            values.append(network.distance(*sides).cpu().numpy())
        return np.concatenate(values)

    with TemporaryDirectory(prefix="syncmri-benchmark-") as folder:
        files = [Path(folder) / f"{name}.npy" for name in ("queries", "reference")]

        def ours() -> None:
            search(network.features(queries, files[0]), network.features(reference, files[1]), squared_distance)

        first, second = (network.features(images[rows]) for images, rows in zip((queries, reference), pairs, strict=True))
        check("LPIPS", np.diag(squared_distance(first, second)), naive(), TOLERANCE)
        return [
            extrapolated("LPIPS, a network pass a pair", naive, pairs, queries, reference, repeats),
            ("LPIPS, features once and search", timed(ours, repeats), "measured"),
        ]


def search(queries: NDArray, reference: NDArray, distance: Distance) -> PatientDistances:
    subjects = np.array([f"patient-{row // SLICES_A_PATIENT}" for row in range(len(reference))])
    return patient_distances(queries, reference, subjects, distance=distance, block=BLOCK)


def extrapolated(
    name: str, naive: Callable[[], object], pairs: NDArray, queries: NDArray, reference: NDArray, repeats: int
) -> Row:
    factor = len(queries) * len(reference) / pairs.shape[1]
    return name, [seconds * factor for seconds in timed(naive, repeats)], f"extrapolated from {pairs.shape[1]} pairs"


def timed(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each of ``repeats`` runs; one untimed run comes first where it is not the only one."""
    seconds = []
    for run in range(repeats + (repeats > 1)):
        start = time.perf_counter()
        work()
        if run or repeats == 1:
            seconds.append(time.perf_counter() - start)
    return seconds


def check(name: str, ours: NDArray, naive: NDArray, tolerance: float) -> None:
    """Ends the program unless both ways agree."""
    worst = float(np.abs(ours - naive).max())
    if not worst <= tolerance:
        raise SystemExit(f"{name}: the two ways differ by {worst:g}, more than {tolerance:g}: nothing was timed")
    print(f"{name}: both ways agree to {worst:.1g} on {len(naive)} pairs")


def print_table(rows: list[Row]) -> None:
    """Rows of the naive way and of ours, the ratio last."""
    (_, naive, _), (_, ours, _) = rows
    for name, seconds, how in rows:
        print(f"  {name:34} {np.median(seconds):12.3f} s ({min(seconds):.3f} – {max(seconds):.3f})  {how}")
    ratio = np.median(naive) / np.median(ours)
    print(f"  {'ratio':34} {ratio:12.0f} × ({min(naive) / max(ours):.0f} – {max(naive) / min(ours):.0f})")


if __name__ == "__main__":
    main()
