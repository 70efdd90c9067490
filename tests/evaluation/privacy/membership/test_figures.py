from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cmr.errors import DataError
from evaluation.figure import to_json
from evaluation.privacy.membership import Signals
from evaluation.privacy.membership.figures import (
    HEADLINE,
    Evidence,
    blind_auc,
    match_members,
    membership_figures,
    null_auc,
)
from evaluation.statistics import IntervalSettings

INTERVALS = IntervalSettings(bootstrap=200, permutations=1, confidence=0.95)
STEPS = (300, 450, 600)


def evidence(name, patients=12, lower=0.0, seed=0, each=10, looks=0.0):
    """Errors around 1, lower by ``lower``; pictures whose features lie at ``looks``."""
    rng = np.random.default_rng(seed)
    count = patients * each

    def errors():
        return (
            1 - lower + 0.1 * np.repeat(rng.normal(size=patients), each)[:, None] + 0.1 * rng.normal(size=(count, len(STEPS)))
        )

    signals = Signals(STEPS, errors(), errors(), errors(), errors(), errors())
    people = np.repeat([f"{name}{i}" for i in range(patients)], each)
    return Evidence(signals, looks + rng.normal(size=(count, 5)), people, np.zeros(count))


def figures(members, nonmembers):
    return membership_figures(members, nonmembers, intervals=INTERVALS, seed=0)


def test_a_memory_is_found_by_every_attack_but_the_blind_one():
    found = figures(evidence("m", lower=1.0, seed=1), evidence("n", seed=2))
    for attack in ("naive", "coarse", "frequency", "pia"):
        assert found["attacks"][attack]["auc"].value > 0.99
        assert found["attacks"][attack]["patient"]["auc"].value == 1
        assert found["attacks"][attack]["tpr_at_1_fpr"].value > 0.9
    assert found["mia_auc"] == found["attacks"][HEADLINE]["auc"]
    assert found["mia_tpr_at_1_fpr"] == found["attacks"][HEADLINE]["tpr_at_1_fpr"]
    assert found["mia_tpr_at_10_fpr"] == found["attacks"][HEADLINE]["tpr_at_10_fpr"]
    assert found["mia_auc_blind"].ci_low <= 0.5 <= found["mia_auc_blind"].ci_high


def test_without_memory_all_are_at_chance():
    found = figures(evidence("m", seed=3), evidence("n", seed=4))
    for attack in ("naive", "coarse", "frequency", "pia", "blind"):
        assert found["attacks"][attack]["auc"].ci_low <= 0.5 <= found["attacks"][attack]["auc"].ci_high


def test_untrained_attacks_know_the_direction():
    """Members with the higher error are no memory; the trained attack would call it one."""
    found = figures(evidence("m", lower=-1.0, seed=1), evidence("n", seed=2))["attacks"]
    assert found["naive"]["auc"].value < 0.01
    assert found["pia"]["auc"].value < 0.01
    assert found["frequency"]["auc"].value > 0.99


def test_pictures_of_another_kind_void_the_comparison():
    found = figures(evidence("m", seed=1, looks=2.0), evidence("n", seed=2))
    assert found["mia_auc_blind"].ci_low > 0.5


def test_names_and_counts():
    found = figures(evidence("m", seed=1), evidence("n", patients=8, seed=2))
    assert set(found) == {
        *("mia_auc", "mia_tpr_at_1_fpr", "mia_tpr_at_10_fpr", "mia_auc_blind"),
        *("attacks", "members", "nonmembers"),
    }
    assert set(found["attacks"]) == {"naive", "coarse", "frequency", "pia", "blind"}
    assert set(found["attacks"]["pia"]) == {"auc", "tpr_at_1_fpr", "tpr_at_10_fpr", "patient"}
    assert to_json(found["members"]) == {
        "patients": {"value": 12.0, "ci_low": None, "ci_high": None, "n": 12},
        "slices": {"value": 120.0, "ci_low": None, "ci_high": None, "n": 120},
    }
    assert found["nonmembers"]["patients"].value == 8
    assert found["mia_auc"].n == 200


def test_one_patient_leaves_nothing_to_train_on():
    found = figures(evidence("m", seed=1), evidence("n", patients=1, seed=2))
    assert "2 on either side" in found["mia_auc"].reason
    assert found["mia_auc"].value is found["mia_auc_blind"].value is None
    assert found["attacks"]["naive"]["auc"].value is not None
    assert found["attacks"]["naive"]["auc"].ci_low is None


def test_unusable_evidence_is_an_error():
    members, nonmembers = evidence("m"), evidence("n")
    with pytest.raises(DataError, match="same time steps"):
        figures(members, replace(nonmembers, signals=replace(nonmembers.signals, steps=(1, 2, 3))))
    with pytest.raises(DataError, match="not finite"):
        figures(members, replace(nonmembers, blind=nonmembers.blind * np.nan))
    with pytest.raises(DataError, match="both members and non-members"):
        figures(members, replace(nonmembers, patients=members.patients))
    with pytest.raises(DataError, match="for 240 slices"):
        figures(members, replace(nonmembers, patients=nonmembers.patients[1:]))


def test_two_kinds_of_pictures_are_told_apart():
    first, second = evidence("a", seed=1, looks=2.0), evidence("b", seed=2)
    found = blind_auc(first.blind, first.patients, second.blind, second.patients, intervals=INTERVALS, seed=0)
    assert found.ci_low > 0.9


# ---- The match


def index(people, each=4):
    rows = [(name, *kind) for name, kind in people.items() for _ in range(each)]
    return pd.DataFrame(rows, columns=["subject", "dataset", "vendor"])


SIEMENS, PHILIPS, GE = ("mnms", "Siemens"), ("mnms", "Philips"), ("mnms", "GE")
TRAIN = index({**{f"s{i}": SIEMENS for i in range(9)}, **{f"p{i}": PHILIPS for i in range(2)}, "g0": GE})
HOLDOUT = index({**{f"hs{i}": SIEMENS for i in range(4)}, **{f"hp{i}": PHILIPS for i in range(3)}})


def test_members_are_drawn_to_the_vendors_of_the_non_members():
    match = match_members(TRAIN, HOLDOUT, seed=0)
    for chosen, whole in ((match.members, TRAIN), (match.nonmembers, HOLDOUT)):
        people = whole.iloc[chosen].drop_duplicates()
        assert people["vendor"].value_counts().to_dict() == {"Siemens": 4, "Philips": 2}
        assert len(chosen) == 24
        assert (np.diff(chosen) > 0).all()
    assert match.table.to_dict("list") == {
        "dataset": ["mnms"] * 3,
        "vendor": ["GE", "Philips", "Siemens"],
        "members": [1, 2, 9],
        "nonmembers": [0, 3, 4],
        "drawn": [0, 2, 4],
        "member_slices": [0, 8, 16],
        "nonmember_slices": [0, 8, 16],
    }


def test_the_draw_is_the_seeds():
    assert (match_members(TRAIN, HOLDOUT, seed=0).members == match_members(TRAIN, HOLDOUT, seed=0).members).all()
    drawn = {tuple(match_members(TRAIN, HOLDOUT, seed=seed).members) for seed in range(5)}
    assert len(drawn) > 1


def test_slices_of_a_patient_can_be_capped():
    match = match_members(TRAIN, HOLDOUT, seed=0, slices=3)
    assert TRAIN.iloc[match.members].groupby("subject").size().tolist() == [3] * 6
    assert len(match_members(TRAIN, HOLDOUT, seed=0, slices=9).members) == 24


def test_sides_that_cannot_be_matched_are_an_error():
    with pytest.raises(DataError, match="no dataset and vendor in common"):
        match_members(TRAIN, index({"x": ("acdc", "Siemens")}), seed=0)
    with pytest.raises(DataError, match=r"\['s0'\] are both"):
        match_members(TRAIN, index({"s0": SIEMENS}), seed=0)
    with pytest.raises(DataError, match="x has more than one"):
        match_members(TRAIN, pd.concat([index({"x": SIEMENS}), index({"x": GE})]), seed=0)


def test_chance_holds_an_attack_that_finds_nothing_and_not_one_that_finds_a_memory():
    """A trained attack that knows nothing points either way: how far by chance, its bootstrap interval does not tell."""
    blind, leaking = evidence("m", seed=3, each=3), evidence("m", lower=1.0, seed=3, each=3)
    others = evidence("n", seed=4, each=3)
    for headline in ("frequency", "coarse"):
        null = null_auc(blind, others, headline=headline, intervals=INTERVALS, seed=0)
        assert null.value == pytest.approx(0.5, abs=0.06)
        assert 0.15 < null.ci_low < 0.4
        assert 0.6 < null.ci_high < 0.85
        assert null.n == 72
        found = membership_figures(leaking, others, headline=headline, intervals=INTERVALS, seed=0)["mia_auc"].value
        assert found > null_auc(leaking, others, headline=headline, intervals=INTERVALS, seed=0).ci_high


def test_chance_is_told_of_patients_of_one_scanner_only():
    """Two scanners, members from one and others from the other: nobody can change sides, and all of the AUC is chance."""
    members = replace(evidence("m", lower=1.0, seed=1), kinds=np.zeros(120))
    others = replace(evidence("n", seed=2), kinds=np.ones(120))
    null = null_auc(members, others, headline="naive", intervals=INTERVALS, seed=0)
    found = membership_figures(members, others, headline="naive", intervals=INTERVALS, seed=0)["mia_auc"]
    assert (null.value, null.ci_low, null.ci_high) == pytest.approx((found.value,) * 3)
