"""Features for FID and KID one image at a time against batches, and surface distances of whole volumes against cut ones.

    python -m benchmarks.features [--quick]

The plain way of the features passes each image alone, and the real ones again for each generator. That of HD95 and ASD takes
both from distance transforms of the whole volume, one pair of transforms for either figure, as metric libraries do. Inception
needs its weights (``syncmri weights fetch``); without them only the surfaces are timed.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.harness import agree, arguments, compare, finish, repeats, report
from cmr.errors import DataError
from evaluation.utility.surface import boundary_distances
from models.device import pick_device

GENERATORS = ("ddpm", "ldm", "fm")
SPACING = (8.0, 1.5, 1.5)
Volumes = list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]


def main() -> None:
    """Prints and records the figures; see the module."""
    parser = arguments(__doc__)
    given = parser.parse_args()
    surfaces(volumes(20 if given.quick else 100), repeats(given))
    try:
        inception(32 if given.quick else 128, repeats(given, usual=3))
    except DataError as error:
        print(f"Inception was not timed: {error}")
    finish(given)


def inception(count: int, turns: int) -> None:
    """Features of ``count`` noise images of 128 pixels; then of three generators' and of real ones, a quarter of it each."""
    import torch

    from evaluation.networks.inception import BATCH, InceptionFeatures, library_network

    network, library = InceptionFeatures(), library_network().to(pick_device())
    images = np.random.default_rng(0).uniform(-1, 1, (count, 128, 128)).astype(np.float32)
    few = images[: count // 4]

    @torch.inference_mode()
    def plain(chosen: NDArray) -> NDArray[np.float64]:
        levels = torch.from_numpy(np.rint((chosen + 1) / 2 * 255).astype(np.uint8)).to(pick_device())
        return np.concatenate([library(one.expand(1, 3, -1, -1))[0].cpu().numpy() for one in levels])

    told = agree("features", network(images), plain(images), 1e-3)
    report(
        "FID and KID features",
        compare(lambda: plain(images), lambda: network(images), repeats=turns, agreement=told, warm=False),
        goal=2,
        work=f"{count} images of 128 px, seconds an image; one by one through torch-fidelity's network, or batches of {BATCH}",
        limit="arithmetic: at 299 px one image already fills the cores, and a batch saves little beside it",
        unit=count,
    )
    report(
        "FID and KID features, three generators",
        compare(
            lambda: [plain(few) for _ in GENERATORS for _ in ("real", "drawn")],
            lambda: [network(few) for _ in ("real", *GENERATORS)],
            repeats=turns,
            agreement=told,
            warm=False,
        ),
        goal=2,
        work=f"{len(few)} images of each and as many real ones, which the plain way passes again for each generator",
        limit="four sets of images are passed for six, and the rest is the arithmetic of the row above",
    )


def surfaces(pairs: Volumes, turns: int) -> None:
    """HD95 and ASD of pairs of volumes."""

    def plain() -> NDArray[np.float64]:
        return np.array([[whole_hd95(*pair), whole_asd(*pair)] for pair in pairs])

    def ours() -> NDArray[np.float64]:
        return np.array([boundary_distances(*pair, SPACING) for pair in pairs])

    found = compare(plain, ours, repeats=turns, agreement=agree("distances", ours(), plain(), 1e-9))
    work = f"{len(pairs)} pairs of a ventricle in 10 × 128 × 128 voxels, seconds a pair"
    report("HD95 and ASD", found, goal=2, work=work, unit=len(pairs))


def whole_hd95(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    there, back = directed(first, second), directed(second, first)
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def whole_asd(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float(np.concatenate([directed(first, second), directed(second, first)]).mean())


def directed(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of each surface voxel of the one to the surface of the other."""
    surface, other = (mask & ~ndimage.binary_erosion(mask) for mask in (first, second))
    return ndimage.distance_transform_edt(~other, sampling=SPACING)[surface]


def volumes(count: int) -> Volumes:
    """Pairs of ellipsoids, a little apart, as large as a left ventricle."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(10), np.arange(128), np.arange(128), indexing="ij"))

    def ellipsoid() -> NDArray[np.bool_]:
        centre, radii = np.array([5, 64, 64]) + rng.normal(0, 1, 3), rng.uniform((3, 14, 14), (5, 22, 22))
        return (((grid - centre[:, None, None, None]) / radii[:, None, None, None]) ** 2).sum(0) < 1

    return [(ellipsoid(), ellipsoid()) for _ in range(count)]


if __name__ == "__main__":
    main()
