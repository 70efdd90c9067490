"""One page a model: verdicts, yardsticks, cost and caution, with and without figures."""

from typing import Any

import pytest

from pipelines.reporting.metrics import gather
from pipelines.reporting.project import Project
from pipelines.reporting.summaries import Summary, metric_of, summarise
from tests.pipelines.report_project import GENERATORS


@pytest.fixture
def pages(finished: Project, metrics: dict[str, Any]) -> dict[str, Summary]:
    return {page.key: page for page in summarise(finished, metrics)}


def cells(page: Summary, label: str) -> list[str]:
    row = next(row for table in (page.gate, page.figures) for row in table.rows if row[0].text == label)
    return [cell.text for cell in row]


def test_every_model_has_a_page(pages: dict[str, Summary]) -> None:
    assert list(pages) == [*GENERATORS, "masks"]
    assert {page.meaning for page in pages.values()} == {"Limits of a test."}


def test_limits_are_shown_in_the_units_of_the_figure(pages: dict[str, Summary]) -> None:
    assert cells(pages["ddpm"], "Copies") == ["Copies", "≤ 5.0", "2.0", "2.1", "kept"]
    assert cells(pages["masks"], "Copies") == ["Copies", "≤ 1.0", "2.0", "2.1", "not kept"]
    assert cells(pages["ddpm"], "Full-Syn: Dice")[1:] == ["≥ 0.300", "0.700", "0.651", "kept"]
    assert cells(pages["ddpm"], "Closer to training than to hold-out")[1:] == ["≤ –", "52.0", "48.4", "missing"]
    assert cells(pages["ddpm"], "KID")[1:] == ["≤ 0.2000", "–", "–", "missing"]


def test_a_refusal_names_what_refuses(pages: dict[str, Summary]) -> None:
    assert pages["masks"].verdict == "Refused: 1 of 2 limits are not kept or cannot be checked: Copies."
    assert "do not share or serve" in pages["masks"].caution[-1]


def test_a_pass_is_said(finished: Project, metrics: dict[str, Any]) -> None:
    metrics["fidelity"]["ddpm"]["kid"] = {"value": 0.05, "ci_low": 0.04, "ci_high": 0.06, "n": 24}
    metrics["privacy"]["ddpm"]["closer_to_train_null"] = {"value": 0.5, "ci_low": 0.3, "ci_high": 0.7, "n": 24}
    page = summarise(finished, metrics)[0]
    assert page.passed
    assert page.verdict == "Passes: all 5 limits of the gate are kept."
    assert not any("refused" in sentence for sentence in page.caution)


def test_figures_stand_beside_their_yardsticks(pages: dict[str, Summary]) -> None:
    row = next(row for row in pages["ddpm"].figures.rows if row[0].text.startswith("Mask adherence"))
    assert [cell.text for cell in row[1:]] == ["0.640", "0.840", "real slices"]
    area = next(row for row in pages["masks"].figures.rows if row[0].text == "LV: area")
    assert [cell.text for cell in area[1:]] == ["760", "845", "real masks"]


def test_the_cost_counts_the_autoencoder_and_the_mask(pages: dict[str, Summary]) -> None:
    assert pages["ldm"].cost[0].startswith("Training: 0:01:02 (h:min:s), and 0:01:02 for its autoencoder before; 200 steps")
    assert "autoencoder" not in pages["ddpm"].cost[0]
    assert pages["ddpm"].cost[1].startswith("Drawing: 0.25 s per image and 0.25 s for the mask")


def test_without_figures_everything_is_missing_and_refused(empty: Project) -> None:
    for page in summarise(empty, gather(empty)):
        assert not page.passed
        assert {verdict.outcome for verdict in page.verdicts} == {"missing"}
        assert page.cost[0] == "It has not been trained yet."


@pytest.mark.parametrize(
    ("axis", "key", "name"),
    [
        ("fidelity", "mask_adherence_ratio", "Mask adherence (Dice) … synthetic / real"),
        ("privacy", "closer_to_train_null", "Closer to training than to hold-out … by chance"),
        ("utility", "full_dice_ratio_to_real", "Full-Syn: Dice / real"),
        ("utility", "mnms_dice", "M&Ms-Syn: Dice"),
        ("masks", "valid_share", "Valid masks"),
        ("masks", "LV_area_ks_d", "LV_area_ks_d"),
        ("privacy", "a_figure_of_tomorrow", "a_figure_of_tomorrow"),
    ],
)
def test_names_of_limits(axis: str, key: str, name: str) -> None:
    assert metric_of(axis, key)[0] == name
