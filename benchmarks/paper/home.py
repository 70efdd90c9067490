"""FID and KID of what a bare machine drew, where the project and the weights of the Inception network are."""

from pathlib import Path

import numpy as np

from benchmarks.paper.judging import own_test
from benchmarks.paper.work import SOURCES, Given, Work, write_json
from evaluation.fidelity.frechet import frechet_distance
from evaluation.fidelity.kernel import kid
from evaluation.networks.inception import InceptionFeatures


def score(data: Path, out: Path) -> None:
    """Writes the stage `inception`: every drawn set, and training slices, against the test slices, at one number of images."""
    work, inception = Work(data, out, Given()), InceptionFeatures()
    sets = {"real": work.train.images}
    for name in work.settings["generators"]:
        for source in SOURCES:
            if (out / f"sample-{name}-{source}" / "pixels.npy").exists():
                sets[f"{name}-{source}"] = work.drawn(f"sample-{name}-{source}")
    test = own_test(work).images
    count = min(map(len, (test, *sets.values())))
    features = {name: inception(_even(images, count)) for name, images in sets.items()}
    real = inception(_even(test, count))
    found = {name: {"fid": frechet_distance(one, real), "kid": kid(one, real), "n": count} for name, one in features.items()}
    write_json(out / "inception" / "facts.json", found)


def _even(images: np.ndarray, count: int) -> np.ndarray:
    return images[np.linspace(0, len(images) - 1, count).astype(int)]
