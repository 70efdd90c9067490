from collections import Counter

import pandas as pd
import pytest

from cmr.errors import DataError
from cmr.splits import HoldoutSettings, SplitSettings, assign_splits

SETTINGS = SplitSettings(validation_share=0.3)


def manifest(**parts: int) -> pd.DataFrame:
    """Two frames a patient, all from one scanner; ids like ``training007``."""
    names = [(f"{part}{number:03d}", part) for part, count in parts.items() for number in range(count)]
    rows = [{"subject": name, "part": part, "vendor": "A", "centre": "1", "duplicate_of": ""} for name, part in names]
    return pd.DataFrame([row | {"phase": phase} for row in rows for phase in ("ED", "ES")])


def split(patients: pd.DataFrame, holdout: HoldoutSettings | None = None, seed: int = 0) -> dict[str, str]:
    return assign_splits(patients, settings=SETTINGS, holdout=holdout, seed=seed)


def names(splits: dict[str, str], wanted: str) -> set[str]:
    return {subject for subject, name in splits.items() if name == wanted}


def test_acdc_validates_on_a_share_of_its_testing_patients():
    splits = split(manifest(training=100, testing=50))
    assert Counter(splits.values()) == {"train": 100, "val": 15, "test": 35}
    assert all(name.startswith("testing") for name in names(splits, "val"))


def test_an_official_validation_part_is_used():
    splits = split(manifest(training=10, validation=4, testing=6))
    assert Counter(splits.values()) == {"train": 10, "val": 4, "test": 6}
    assert all(name.startswith("validation") for name in names(splits, "val"))


@pytest.mark.parametrize(("testing", "expected"), [(0, (0, 0)), (1, (0, 1)), (2, (1, 1)), (3, (1, 2)), (20, (6, 14))])
def test_small_testing_parts(testing, expected):
    counted = Counter(split(manifest(training=3, testing=testing)).values())
    assert (counted["val"], counted["test"]) == expected


def test_a_large_share_leaves_a_test_patient():
    splits = assign_splits(manifest(testing=3), settings=SplitSettings(0.99), holdout=None, seed=0)
    assert Counter(splits.values()) == {"val": 2, "test": 1}


def test_draws_are_seeded():
    patients, holdout = manifest(training=40, testing=40), HoldoutSettings(0.2, 4)
    assert split(patients, holdout) == split(patients.sample(frac=1, random_state=1), holdout)
    assert names(split(patients, holdout), "val") != names(split(patients, holdout, seed=1), "val")
    assert names(split(patients, holdout), "holdout") != names(split(patients, holdout, seed=1), "holdout")


def test_an_added_patient_moves_few_others():
    before, after = (split(manifest(training=n, testing=40), HoldoutSettings(0.2, 4)) for n in (40, 41))
    assert sum(before[subject] != after[subject] for subject in before) <= 2


def test_duplicates_belong_to_no_split():
    patients = manifest(training=5, testing=5)
    patients.loc[patients["subject"] == "testing001", "duplicate_of"] = "training001"
    splits = split(patients)
    assert "testing001" not in splits
    assert len(splits) == 9


@pytest.mark.parametrize(("training", "size"), [(14, 12), (60, 12), (100, 20)])
def test_holdout_size_is_the_share_or_the_minimum(training, size):
    splits = split(manifest(training=training, testing=2), HoldoutSettings(0.2, 12))
    held_out = names(splits, "holdout")
    assert len(held_out) == size
    assert all(name.startswith("training") for name in held_out)
    assert len(names(splits, "train")) == training - size


def test_holdout_is_stratified_by_vendor_and_centre():
    patients = manifest(training=60)
    number = patients["subject"].str[-3:].astype(int)
    patients["vendor"] = number.map(lambda n: "A" if n < 30 else "B")
    patients["centre"] = number.map(lambda n: "1" if n < 30 else "2" if n < 50 else "3")
    held_out = names(split(patients, HoldoutSettings(0.2, 1)), "holdout")
    drawn = patients[patients["subject"].isin(held_out)].drop_duplicates("subject")
    assert Counter(zip(drawn["vendor"], drawn["centre"], strict=True)) == {("A", "1"): 6, ("B", "2"): 4, ("B", "3"): 2}


def test_largest_remainders_share_out_what_is_left():
    patients = manifest(training=10)
    patients["centre"] = patients["subject"].str[-3:].astype(int).map(lambda n: "1" if n < 5 else "2" if n < 8 else "3")
    held_out = names(split(patients, HoldoutSettings(0.4, 1)), "holdout")  # 4 of 10: quotas 2.0, 1.2, 0.8
    assert Counter(patients.drop_duplicates("subject").set_index("subject")["centre"][list(held_out)]) == {
        "1": 2,
        "2": 1,
        "3": 1,
    }


def test_too_few_patients_for_the_holdout():
    assert len(names(split(manifest(training=14), HoldoutSettings(0.2, 12)), "train")) == 2
    with pytest.raises(DataError, match=r"13 training patients .* takes 12 .* Lower privacy\.holdout\.minimum_patients"):
        split(manifest(training=13), HoldoutSettings(0.2, 12))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_shares_lie_between_0_and_1(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        SplitSettings(share)
    with pytest.raises(ValueError, match="between 0 and 1"):
        HoldoutSettings(share, 1)
