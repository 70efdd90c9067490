"""Stage ``cohort``: the labelled slices of the datasets that the generators train on, one store a split.

The training set is a folder of its own, so that no network that is given it can see a hold-out patient.
"""

import numpy as np

from cmr.errors import DataError
from cmr.store import SliceStore, concatenate
from mlops.settings import GeneratorsSettings, section
from pipelines.stage import REAL_SPLITS, run, say


def main() -> None:
    settings = section("generators", GeneratorsSettings)
    datasets = settings.train_on
    pooled = concatenate([SliceStore.open(f"data/slices/{dataset}") for dataset in datasets])
    counts = []
    for split in REAL_SPLITS:
        rows = pooled.select((pooled.index["split"] == split) & pooled.index["labelled"])
        if split == "train" and settings.patients is not None:
            rows = first_patients(rows, settings.patients, section("seed", int))
        if not len(rows):
            raise DataError(
                f"{' + '.join(datasets)}: no patient is left for '{split}'. Generators are chosen on validation patients and "
                "measured on test and hold-out patients: add patients to the testing part of the data (their share for "
                "validation is splits.validation_share), or name another dataset in generators.train_on."
            )
        SliceStore.write(f"data/cohort/{split}", rows.index, rows.masks, rows.images)
        if split == "test":
            SliceStore.write("data/masks/test", rows.index, rows.masks)
        counts.append(f"{split} {len(rows)} slices of {rows.index['subject'].nunique()} patients")
    say(f"cohort of {' + '.join(datasets)}: {', '.join(counts)}")


def first_patients(store: SliceStore, count: int, seed: int) -> SliceStore:
    """The slices of ``count`` patients, the first of one random order, so that more patients hold all of fewer.

    Raises:
        DataError: there are not so many patients, or ``count`` is not positive.
    """
    everyone = np.unique(store.index["subject"].astype(str))
    if not 1 <= count <= len(everyone):
        raise DataError(
            f"generators.patients: found {count}, expected 1 to {len(everyone)}, the patients there are to train on"
        )
    chosen = np.random.default_rng(seed).permutation(everyone)[:count]
    return store.select(store.index["subject"].astype(str).isin(chosen))


if __name__ == "__main__":
    run(main)
