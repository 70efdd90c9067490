"""The figures of a network under the names that the gate uses, and the few of them that become metrics."""

from pathlib import Path

from mlops.gate import GateSettings, figures_of
from mlops.records import figures_of_network, headlines, read_figures, speaks_of
from mlops.settings import section
from tests.mlops.records import RUN_KEY, figure, write_figures, write_network

DICE = figure(0.8, 0.7, 0.9, 10)
UTILITY = {test: {"clinical": {"dice": DICE, "LV": {"dice": DICE}}, "paper": {"dice": DICE}} for test in ("mnms", "acdc")}


def figures(root: Path, name: str = "ddpm") -> dict:
    return figures_of_network(root, read_figures(root), name)


def test_a_generator_has_the_utility_of_its_sets_and_a_segmenter_its_own(demo: Path) -> None:
    write_network(demo)
    write_network(demo, "segmenter/ddpm-full")
    write_figures(demo, "utility", None, {"ddpm-full": UTILITY, "ldm-full": UTILITY, "mnms-real": UTILITY})
    names = ["full_LV_dice", "full_LV_dice_on_acdc", "full_dice", "full_dice_on_acdc"]
    of_paper = ["utility_paper/full_dice", "utility_paper/full_dice_on_acdc"]
    assert sorted(figures(demo)) == [*(f"utility/{name}" for name in names), *of_paper]
    of_segmenter = {name.replace("full_", "") for name in figures(demo)}
    assert set(figures(demo, "segmenter/ddpm-full")) == of_segmenter
    chosen = ["utility/full_dice", "utility/full_dice_on_acdc", *of_paper]
    assert sorted(headlines(demo, "ddpm", figures(demo))) == chosen


def test_names_are_those_of_the_gate(demo: Path) -> None:
    write_network(demo)
    near = {"copies": figure(0.01, 0, 0.02, 40), "floor": {"nn_l2": DICE}}
    write_figures(demo, "privacy-ddpm", "ddpm", near)
    write_figures(demo, "membership-ddpm", "ddpm", {"mia_auc": DICE})
    write_figures(demo, "utility", None, {"ddpm-full": UTILITY})
    metrics = {"privacy": {"ddpm": {**near, "mia_auc": DICE}}, "utility": {"ddpm-full": UTILITY}}
    ours = figures(demo)
    for axis, named in figures_of(metrics, "ddpm", "mnms").items():
        for name, one in named.items():
            assert ours[f"{axis}/{name}"] == one


def test_what_the_gate_asks_for_is_a_metric(demo: Path) -> None:
    write_network(demo)
    limits = section("gate", GateSettings, demo).images
    bounds = {axis: {one.bound for one in named.values() if isinstance(one.bound, str)} for axis, named in limits.items()}
    asked = {axis: {*named, *bounds[axis]} for axis, named in limits.items()}
    for axis in ("fidelity", "privacy"):
        write_figures(demo, f"{axis}-ddpm", "ddpm", dict.fromkeys([*asked[axis], "of_no_interest"], DICE))
    tests = {"mnms": {"clinical": {name.removeprefix("full_"): DICE for name in asked["utility"]}}}
    write_figures(demo, "utility", None, {"ddpm-full": tests})
    chosen = headlines(demo, "ddpm", figures(demo))
    assert {f"{axis}/{name}" for axis, names in asked.items() for name in names} <= set(chosen)
    assert not [name for name in chosen if "of_no_interest" in name]


def test_cost_is_that_of_all_sets_and_of_the_autoencoder(demo: Path) -> None:
    write_network(demo, "ldm")
    write_network(demo, "autoencoder/ldm")
    for source, seconds, drawn in (("full", 1.0, 30), ("test", 2.0, 10)):
        speed = {"value": seconds, "ci_low": None, "ci_high": None, "n": drawn}
        write_figures(demo, f"sampling-ldm-{source}", "ldm", {source: {"seconds_per_image": speed}})
    chosen = headlines(demo, "ldm", figures(demo, "ldm"))
    assert chosen["cost/seconds_per_image"] == {"value": 1.25, "n": 40}
    assert chosen["cost/autoencoder_seconds"] == {"value": 4.5}


def test_figures_of_an_earlier_training_are_left_out(demo: Path) -> None:
    write_network(demo)
    write_figures(demo, "fidelity-ddpm", "ddpm", {"ssim": DICE}, run_key="of another")
    write_figures(demo, "privacy-ddpm", "ddpm", {"copies": DICE}, run_key=RUN_KEY)
    assert list(figures(demo)) == ["privacy/copies"]


def test_whom_a_file_speaks_of(demo: Path) -> None:
    for name in ("ddpm", "segmenter/ddpm-full", "segmenter/acdc-real"):
        write_network(demo, name)
    assert speaks_of(demo, {"run": "ddpm"}) == ["ddpm"]
    assert speaks_of(demo, {"run": "ldm"}) == []
    setups = {"figures": {name: {} for name in ("acdc-real", "ddpm-full", "ddpm-acdc")}}
    assert speaks_of(demo, {"run": None, **setups}) == ["segmenter/acdc-real", "segmenter/ddpm-full", "ddpm"]
