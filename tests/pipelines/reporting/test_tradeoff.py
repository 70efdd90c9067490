"""The trade-off: what is drawn, and what is said to be missing."""

from typing import Any

from pipelines.reporting.metrics import gather
from pipelines.reporting.project import Project
from pipelines.reporting.tradeoff import trade_off


def test_what_stands_in_for_a_missing_figure_is_said(finished: Project, metrics: dict[str, Any]) -> None:
    found = trade_off(finished, metrics)
    assert found.chart.startswith("data:image/svg+xml")
    assert "No generator has a KID" in found.caption
    assert "Mask adherence (Dice) stands in its place" in found.caption
    assert "Not drawn" not in found.caption


def test_a_generator_without_a_figure_is_named(finished: Project, metrics: dict[str, Any]) -> None:
    for name, value in (("ddpm", 0.05), ("ldm", 0.09)):
        metrics["fidelity"][name]["kid"] = {"value": value, "ci_low": None, "ci_high": None, "n": 24}
    metrics["fidelity"]["fm"]["kid"] = {"value": None, "reason": "too few images"}
    caption = trade_off(finished, metrics).caption
    assert "stands in its place" not in caption.partition("membership")[0]
    assert "Not drawn: Flow matching has no KID (too few images)." in caption


def test_without_figures_there_is_no_chart_but_a_reason(empty: Project) -> None:
    found = trade_off(empty, gather(empty))
    assert found.chart == ""
    assert found.caption.startswith("No trade-off to show yet: DDPM has no ")
