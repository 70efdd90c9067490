"""Stage ``cohort``: the labelled slices of the datasets that the generators train on, one store a split.

The training set is a folder of its own, so that no network that is given it can see a hold-out patient.
"""

from cmr.errors import DataError
from cmr.store import SliceStore, concatenate
from mlops.settings import GeneratorsSettings, section
from pipelines.stage import REAL_SPLITS, run, say


def main() -> None:
    datasets = section("generators", GeneratorsSettings).train_on
    pooled = concatenate([SliceStore.open(f"data/slices/{dataset}") for dataset in datasets])
    counts = []
    for split in REAL_SPLITS:
        rows = pooled.select((pooled.index["split"] == split) & pooled.index["labelled"])
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


if __name__ == "__main__":
    run(main)
