"""Who is learnt by heart, and the settings of the attack and its control."""

import numpy as np
import pandas as pd
import pytest

from cmr.errors import DataError
from evaluation.privacy.membership.control import draw_control
from evaluation.privacy.membership.figures import NoMatchError
from evaluation.privacy.membership.settings import ControlSettings, MembershipSettings

SETTINGS = ControlSettings(patients=5, slices=3, max_steps=10, mask_steps=10)


def index(patients: dict[str, int], split: str, each: int = 8) -> pd.DataFrame:
    """So many patients of each vendor, ``each`` slices of every one."""
    people = [(f"{vendor}-{split}-{number}", vendor) for vendor, count in patients.items() for number in range(count)]
    rows = [{"subject": name, "dataset": "mnms", "vendor": vendor, "slice": n} for name, vendor in people for n in range(each)]
    return pd.DataFrame(rows, columns=["subject", "dataset", "vendor", "slice"])


def people(table: pd.DataFrame, rows: np.ndarray) -> list[str]:
    return sorted(table.iloc[rows]["subject"].unique())


def test_enough_patients_of_one_vendor_need_no_hold_out():
    train, holdout = index({"A": 12, "B": 9}, "train"), index({"A": 6, "B": 6}, "holdout")
    drawn = draw_control(train, holdout, SETTINGS, seed=1)
    assert (drawn.dataset, drawn.vendor) == ("mnms", "A")
    members, others = people(train, drawn.members), people(train, drawn.nonmembers)
    assert len(members) == len(others) == 5
    assert not set(members) & set(others)
    assert {name[0] for name in members + others} == {"A"}
    assert drawn.holdout.size == 0
    assert (train.iloc[drawn.members].groupby("subject").size() == 3).all()


def test_too_few_others_are_filled_up_from_the_hold_out():
    train, holdout = index({"A": 7}, "train"), index({"A": 6}, "holdout")
    drawn = draw_control(train, holdout, SETTINGS, seed=1)
    counts = [len(people(*pair)) for pair in ((train, drawn.members), (train, drawn.nonmembers), (holdout, drawn.holdout))]
    assert counts == [5, 2, 3]


def test_fewer_patients_than_asked_for_are_shared_evenly():
    train, holdout = index({"A": 5}, "train"), index({"A": 2}, "holdout")
    drawn = draw_control(train, holdout, SETTINGS, seed=1)
    assert len(people(train, drawn.members)) == 3
    assert len(people(train, drawn.nonmembers)) + len(people(holdout, drawn.holdout)) == 3


def test_the_seed_decides_who_and_all_slices_may_be_taken():
    train, holdout = index({"A": 12}, "train"), index({"A": 6}, "holdout")
    first, again, other = (draw_control(train, holdout, SETTINGS, seed) for seed in (1, 1, 2))
    assert (first.members == again.members).all()
    assert people(train, first.members) != people(train, other.members)
    whole = draw_control(train, holdout, ControlSettings(patients=5, slices=None, max_steps=10, mask_steps=10), seed=1)
    assert whole.members.size == 5 * 8


def test_without_two_patients_a_side_there_is_no_control():
    with pytest.raises(NoMatchError, match="2 training patients of one vendor and 2 others"):
        draw_control(index({"A": 1, "B": 1}, "train"), index({"A": 4, "B": 1}, "holdout"), SETTINGS, seed=1)
    train = index({"A": 6}, "train")
    with pytest.raises(DataError, match="both in training and held out"):
        draw_control(train, train, SETTINGS, seed=1)


@pytest.mark.parametrize(
    ("times", "noises", "slices", "batch", "told"),
    [
        ((), 1, None, 1, "at least one time"),
        ((0.3, 1.2), 1, None, 1, r"times=\[0.3, 1.2\]"),
        ((0.3,), 0, None, 1, "noises=0"),
        ((0.3,), 1, None, 0, "batch=0"),
        ((0.3,), 1, 0, 1, "slices=0"),
    ],
)
def test_an_attack_that_reads_nothing_is_refused(times, noises, slices, batch, told):
    with pytest.raises(DataError, match=told):
        MembershipSettings(times, noises, slices, batch)


@pytest.mark.parametrize(("patients", "slices", "steps", "told"), [(4, 3, 9, "at least 5"), (5, 0, 9, "s=0"), (5, 3, 0, "s=0")])
def test_a_control_that_shows_nothing_is_refused(patients, slices, steps, told):
    with pytest.raises(DataError, match=told):
        ControlSettings(patients, slices, 9, steps)
