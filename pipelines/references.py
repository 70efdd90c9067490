"""The real images that synthetic ones are held against as crowds, and the file with their features."""

from pathlib import Path
from typing import Any

import numpy as np

from cmr.errors import DataError
from cmr.store import SliceStore
from evaluation.fidelity.crowds import Crowd
from mlops.settings import DataSettings, GeneratorsSettings, section

FEATURES = Path("data/features/inception.npz")
TEST, TRAIN = "test", "train"
_OTHER = "other-"  # before a dataset's name, which holds no hyphen


def real_crowds(seed: int) -> dict[str, Crowd]:
    """Real images and their patients: the test slices, and as many of those that the floors are made of.

    Returns:
        ``test``, ``train`` (training patients of the same datasets) and, as ``other-DATASET``, the labelled test slices of the
        datasets that no generator trains on. No more are kept than there are test slices: every figure is computed at the
        smallest number of images, so further ones would only cost time.

    Raises:
        DataError: a store is broken, or its slices are of another size than the test slices.
    """
    test = crowd(SliceStore.open("data/cohort/test"))
    crowds = {TRAIN: crowd(SliceStore.open("data/cohort/train"))}
    for dataset in section("data", DataSettings).raw:
        if dataset not in section("generators", GeneratorsSettings).train_on:
            store = SliceStore.open(f"data/slices/{dataset}")
            crowds[_OTHER + dataset] = crowd(store.select((store.index["split"] == "test") & store.index["labelled"]))
    for name, one in crowds.items():
        check_size(one, test, f"the real images called '{name}'")
    return {TEST: test} | {name: one.draw(len(test.rows), seed) for name, one in crowds.items()}


def others(crowds: dict[str, Crowd]) -> dict[str, Crowd]:
    """Those of other datasets, by the names of the datasets."""
    return {name.removeprefix(_OTHER): one for name, one in crowds.items() if name.startswith(_OTHER)}


def crowd(store: SliceStore) -> Crowd:
    """The images of a store with their patients; for images of synthetic masks each its own."""
    assert store.images is not None
    return Crowd(store.images, store.index["subject"].to_numpy(dtype=str))


def check_size(one: Crowd, test: Crowd, name: str) -> None:
    """Raises DataError unless the images are as large as the test slices; networks would look at any size."""
    if one.rows.shape[1:] != test.rows.shape[1:]:
        found, expected = (" × ".join(map(str, images.rows.shape[1:])) for images in (one, test))
        raise DataError(f"{name}: {found} pixels; expected {expected}, as the test slices have: make them again (`dvc repro`)")


def write_features(features: dict[str, Crowd], path: Path) -> None:
    """Features in float32, which is what the network computes in, and their patients, as one .npz file."""
    arrays: dict[str, Any] = {}
    for name, one in features.items():
        arrays |= {f"{name}.features": one.rows.astype(np.float32), f"{name}.patients": one.patients.astype(str)}
    with path.open("wb") as file:
        np.savez(file, **arrays)


def read_features() -> dict[str, Crowd]:
    """What the stage `features` has written."""
    with np.load(FEATURES, allow_pickle=False) as arrays:
        names = [key.removesuffix(".features") for key in arrays.files if key.endswith(".features")]
        return {name: Crowd(arrays[f"{name}.features"], arrays[f"{name}.patients"]) for name in names}
