"""The gate's verdicts, each of which follows from the figure by hand."""

from typing import Any

import pytest

from cmr.errors import DataErrors
from mlops.gate import GateSettings, Limit, Verdict, figures_of, judge, passes
from mlops.profiles import merged
from mlops.settings import check
from tests.mlops.conftest import REPOSITORY


def figure(value: float, low: float | None, high: float | None, **more: Any) -> dict[str, Any]:
    return {"value": value, "ci_low": low, "ci_high": high, "n": 20, **more}


def verdict(limit: Limit, **figures: dict[str, Any]) -> Verdict:
    """On the figure ``it``."""
    (only,) = judge({"privacy": figures}, {"privacy": {"it": limit}})
    return only


@pytest.mark.parametrize(
    ("limit", "compared", "outcome"),
    [
        (Limit(at_most=0.6), 0.7, "fail"),  # the value would keep it, the upper end does not
        (Limit(at_most=0.7), 0.7, "pass"),  # a bound itself is allowed
        (Limit(at_least=0.3), 0.2, "fail"),
        (Limit(at_least=0.2), 0.2, "pass"),
        (Limit(at_most=0.6, compare="value"), 0.5, "pass"),
        (Limit(at_least=0.6, compare="value"), 0.5, "fail"),
        (Limit(at_most=0.2, compare="best"), 0.2, "pass"),  # only the lower end has to keep an upper bound
        (Limit(at_most=0.1, compare="best"), 0.2, "fail"),
        (Limit(at_least=0.7, compare="best"), 0.7, "pass"),
        (Limit(at_least=0.8, compare="best"), 0.7, "fail"),
    ],
)
def test_the_right_part_of_the_figure_is_compared(limit: Limit, compared: float, outcome: str) -> None:
    found = verdict(limit, it=figure(0.5, 0.2, 0.7))
    assert (found.compared, found.outcome, found.reason) == (compared, outcome, "")


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({}, "there is no figure “it”"),
        ({"it": {"value": None, "reason": "needs the Inception weights"}}, "needs the Inception weights"),
        ({"it": {"value": None}}, "no figure, and no reason given"),
        ({"it": figure(0.1, None, None, reason="one patient")}, "no interval: one patient"),
        ({"it": figure(float("nan"), float("nan"), float("nan"))}, "“it” is nan, which is no number"),
        ({"it": figure("0.1", "0.1", "0.1")}, "“it” is '0.1', which is no number"),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("limit", [Limit(at_most=100.0), Limit(at_least=-100.0)])
def test_a_missing_figure_refuses(limit: Limit, figures: dict[str, Any], reason: str) -> None:
    found = verdict(limit, **figures)
    assert (found.outcome, found.reason, found.compared) == ("missing", reason, None)
    assert not passes([found])


def test_a_figure_without_an_interval_by_nature_stands_for_itself() -> None:
    assert verdict(Limit(at_least=0.05), it=figure(0.04, None, None)).outcome == "fail"
    assert verdict(Limit(at_least=0.05), it=figure(0.06, None, None)).outcome == "pass"


def test_a_leak_lies_beyond_what_chance_gives() -> None:
    limit = Limit(at_most="null", compare="best")
    chance = figure(0.5, 0.3, 0.72)
    assert verdict(limit, it=figure(0.8, 0.71, 0.9), null=chance).outcome == "pass"
    leak = verdict(limit, it=figure(0.9, 0.73, 1.0), null=chance)
    assert (leak.outcome, leak.bound, leak.compared) == ("fail", 0.72, 0.73)
    unknown = verdict(limit, it=figure(0.9, 0.73, 1.0))
    assert (unknown.outcome, unknown.reason, unknown.bound) == ("missing", "there is no figure “null”", None)
    assert verdict(Limit(at_least="null"), it=figure(0.9, 0.29, 1.0), null=chance).bound == 0.3


def test_all_limits_must_be_kept_and_there_must_be_some() -> None:
    good, bad = (verdict(Limit(at_most=bound), it=figure(0.1, 0.0, 0.2)) for bound in (0.3, 0.1))
    assert passes([good, good])
    assert not passes([good, bad])
    assert not passes([])


def test_figures_are_found_by_their_flat_names() -> None:
    dice, ratio, floor, ring = (figure(value, None, None) for value in (0.7, 0.9, 7.0, 0.8))
    metrics = {
        "data": {"duplicates": []},
        "masks": {"validity": {"ring": {"generated": ring}}},
        "fidelity": {"ddpm": {"kid": floor}, "ldm": {"kid": dice}},
        "utility": {
            "ddpm-full": {"mnms": {"clinical": {"dice_ratio_to_real": ratio, "LV": {"dice": dice}}}, "acdc": {"clinical": {}}},
            "mnms-real-and-ddpm-full": {"mnms": {"clinical": {"dice": floor}}},
        },
        "privacy": {"ddpm": {"floor": {"nn_l2": floor}}, "masks": {"copies": floor}},
    }
    assert figures_of(metrics, "ddpm", "mnms") == {
        "fidelity": {"kid": floor},
        "utility": {"full_dice_ratio_to_real": ratio, "full_LV_dice": dice},
        "privacy": {"floor_nn_l2": floor},
    }
    assert figures_of(metrics, "masks", "mnms") == {"masks": {"validity_ring_generated": ring}, "privacy": {"copies": floor}}
    assert figures_of({}, "ddpm", "mnms") == {"fidelity": {}, "utility": {}, "privacy": {}}


@pytest.mark.parametrize("profile", sorted(path.stem for path in (REPOSITORY / "profiles").glob("*.yaml")))
def test_every_profile_has_limits_on_all_axes(profile: str) -> None:
    gate = check(merged(REPOSITORY, profile)["gate"], GateSettings, "gate")
    assert set(gate.of("ddpm")) == {"fidelity", "utility", "privacy"}
    assert set(gate.of("masks")) == {"masks", "privacy"}
    assert ("demo" in gate.meaning) == (profile == "demo")
    for limits in (gate.images, gate.masks):
        assert {"mia_auc", "mia_auc_blind", "mia_auc_control", "copies", "closer_to_train"} <= set(limits["privacy"])


@pytest.mark.parametrize(
    ("limit", "fault"),
    [
        ({}, "either at_least or at_most"),
        ({"at_least": 0.1, "at_most": 0.2}, "either at_least or at_most"),
        ({"at_most": "0.5 %"}, "expected a number or the name of a figure"),
        ({"at_most": 0.5, "compare": "middle"}, "gate.images.privacy.copies.compare"),
        ({"atmost": 0.5}, "gate.images.privacy.copies.atmost: unknown key. Did you mean 'at_most'?"),
    ],
)
def test_a_limit_that_says_nothing_clear_is_refused(limit: dict[str, Any], fault: str) -> None:
    with pytest.raises(DataErrors) as raised:
        check({"meaning": "", "images": {"privacy": {"copies": limit}}, "masks": {}}, GateSettings, "gate")
    assert fault in str(raised.value)
