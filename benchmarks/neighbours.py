"""The neighbour search against one pair at a time (L2), and against a network pass for every pair (LPIPS).

    python -m benchmarks.neighbours [--quick]    # 2000 × 2000 slices of 128 pixels; quick: 300 × 300 of 64

What the plain way takes is measured on some pairs and extrapolated to all, on which ours is timed from images to neighbours.
The images are random: no step depends on what they show. LPIPS needs its weights (``syncmri weights fetch``) and, for features
on disk, 4 MB an image of 128 pixels; without the weights only L2 is timed.
"""

import mmap
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import agree, arguments, compare, finish, repeats, report, timed
from cmr.errors import DataError
from evaluation.privacy.search import Distance, PatientDistances, image_distance, patient_distances, squared_distance

BLOCK = 512
SLICES_A_PATIENT = 16
SAMPLE = 64  # pairs that the plain way is timed on
PAIRS_A_PASS = 16  # pairs in one batch of the network: the plain way at its best
GOAL = 100
TOLERANCE = 1e-3  # of LPIPS: float16 features lose up to 1e-4, and the network another 1e-4 between batch sizes
STATUS = Path("/proc/self/statm")
LOOK = 0.005  # seconds between two looks at the memory


def main() -> None:
    """Prints and records the figures; see the module."""
    given = arguments(__doc__).parse_args()
    count, size = (300, 64) if given.quick else (2000, 128)
    rng = np.random.default_rng(0)
    queries, reference = (rng.uniform(-1, 1, (count, size, size)).astype(np.float32) for _ in range(2))
    pairs = rng.integers(count, size=(2, SAMPLE))
    l2(queries, reference, pairs, repeats(given))
    try:
        lpips(queries, reference, pairs, repeats(given, usual=2, quick=2))
    except DataError as error:
        print(f"LPIPS was not timed: {error}")
    finish(given)


def l2(queries: NDArray, reference: NDArray, pairs: NDArray, turns: int) -> None:
    """Ours multiplies matrices in float32; the product alone is timed too, as the floor."""

    def plain() -> NDArray[np.float64]:
        return np.array([np.sqrt(np.sum((queries[i].astype(np.float64) - reference[j]) ** 2)) for i, j in pairs.T])

    def ours() -> PatientDistances:
        return search(queries, reference, image_distance)

    expected = plain()
    told = agree("distances", image_distance(queries, reference)[*pairs], expected, 1e-6 * expected.min())
    found = compare(plain, ours, repeats=turns, agreement=told, factor=share(queries, reference, pairs))
    first, second = (images.reshape(len(images), -1) for images in (queries, reference))
    floor = min(timed(lambda: first @ second.T) for _ in range(turns))
    rate = 2 * first.size * len(second) / floor / 1e9
    report(
        "neighbours, L2",
        found,
        goal=GOAL,
        work=f"{said(queries, reference)}; the float32 product of that size alone: {floor:.3g} s ({rate:.0f} GFLOP/s); "
        f"peak memory beside the images {peak(ours)}",
        limit=f"arithmetic: the float32 product alone is {np.median(found.plain) / floor:.0f} times faster than a pair at a "
        "time, whose images lie in the cache",
    )


def lpips(queries: NDArray, reference: NDArray, pairs: NDArray, turns: int) -> None:
    """Ours takes the features of all images, and searches in them."""
    import torch

    from evaluation.networks.lpips import LpipsNetwork

    network = LpipsNetwork("vgg")

    def plain() -> NDArray[np.float64]:
        values = []
        for start in range(0, pairs.shape[1], PAIRS_A_PASS):
            chosen = pairs[:, start : start + PAIRS_A_PASS]
            sides = (torch.from_numpy(images[rows])[:, None] for images, rows in zip((queries, reference), chosen, strict=True))
            values.append(network.distance(*sides).cpu().numpy())
        return np.concatenate(values)

    def ours() -> None:
        with TemporaryDirectory(prefix="syncmri-benchmark-") as folder:
            sides = {"queries": queries, "reference": reference}
            search(
                *(network.features(images, Path(folder) / f"{name}.npy") for name, images in sides.items()), squared_distance
            )

    few = [network.features(images[rows]).astype(np.float16) for images, rows in zip((queries, reference), pairs, strict=True)]
    told = agree("distances", np.diag(squared_distance(*few)), plain(), TOLERANCE)
    memory = peak(ours)  # also warms up
    report(
        "neighbours, LPIPS",
        compare(plain, ours, repeats=turns, agreement=told, factor=share(queries, reference, pairs), warm=False),
        goal=GOAL,
        work=f"{said(queries, reference)}, VGG16, from images to neighbours; plain: {PAIRS_A_PASS} pairs a network pass; peak "
        f"memory beside images and features on disk {memory}",
        limit="few images: network passes grow with their number, pairs with its square",
    )


def search(queries: NDArray, reference: NDArray, distance: Distance) -> PatientDistances:
    """Both neighbours of each query in every patient."""
    subjects = np.array([f"patient-{row // SLICES_A_PATIENT}" for row in range(len(reference))])
    return patient_distances(queries, reference, subjects, distance=distance, block=BLOCK)


def share(queries: NDArray, reference: NDArray, pairs: NDArray) -> float:
    return len(queries) * len(reference) / pairs.shape[1]


def said(queries: NDArray, reference: NDArray) -> str:
    return f"{len(queries)} × {len(reference)} slices of {queries.shape[-1]} px, blocks of {BLOCK}"


def peak(work: Callable[[], object]) -> str:
    """The most memory that ``work`` held beyond what there was before, mapped files aside, in words."""
    if not STATUS.is_file():
        return "not measured: no /proc"
    before, most, done = held(), [0.0], threading.Event()

    def look() -> None:
        while not done.wait(LOOK):
            most.append(held() - before)

    watch = threading.Thread(target=look)
    watch.start()
    try:
        work()
    finally:
        done.set()
        watch.join()
    return f"{max(most):.0f} MB"


def held() -> float:
    """Memory of this process that is no file's, MB; the kernel counts pages."""
    _, resident, shared, *_ = map(int, STATUS.read_text().split())
    return (resident - shared) * mmap.PAGESIZE / 1e6


if __name__ == "__main__":
    main()
