"""Dice of each structure after each training."""

from typing import Any

from pipelines.reporting.metrics import gather, setups
from pipelines.reporting.project import Project
from pipelines.reporting.structures import structures_table


def test_every_structure_of_every_training(finished: Project, metrics: dict[str, Any]) -> None:
    compared = setups(finished)
    table = structures_table(metrics, compared, ["acdc", "mnms"])
    assert [len(row) for row in table.rows] == [7] * len(compared)
    assert [cell.text for cell in table.rows[0]] == ["ACDC real", "0.800", "0.840", "0.880", "0.800", "0.840", "0.880"]
    assert table.groups[1] == ("ACDC test (N = 24 volumes)", 3)
    assert table.reasons == {}


def test_a_training_that_was_not_tested_says_why(empty: Project) -> None:
    table = structures_table(gather(empty), ["acdc-real"], ["acdc"])
    assert {cell.reason for cell in table.rows[0][1:]} == {"no figures: the stage utility has not run"}
