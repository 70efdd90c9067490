"""Stage ``phantom@DATASET``: writes the built-in raw data, so that the first run needs no licence and no download."""

import shutil
from pathlib import Path

from cmr.phantom import PhantomSettings, write_phantom
from mlops.settings import PhantomData, section
from pipelines.stage import run, say


def main(dataset: str) -> None:
    settings, seed = section("phantom", PhantomData), section("seed", int)
    root = Path("data/phantom") / dataset
    shutil.rmtree(root, ignore_errors=True)
    shape = PhantomSettings(slices=settings.slices, matrix=settings.matrix)
    write_phantom(root, dataset, settings.patients[dataset], settings=shape, seed=seed)
    say(f"phantom {dataset}: {sum(settings.patients[dataset].values())} patients in {root}")


if __name__ == "__main__":
    run(main)
