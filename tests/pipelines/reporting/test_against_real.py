"""Each training beside the real one: names, table, chart."""

import base64

import pytest

from pipelines.reporting.names import setup_name
from pipelines.reporting.utility_charts import against_real_chart
from pipelines.reporting.utility_tables import against_real_table

SETUPS = ["mnms-real", "ddpm-full", "mnms-real-and-ddpm-full"]


def utility(value):
    none = {"value": None, "reason": "not run"}
    given = {
        "dice_vs_real": {"value": value, "ci_low": value - 0.02, "ci_high": value + 0.02, "n": 18},
        "dice_ratio_to_real": {"value": 1 + value, "ci_low": None, "ci_high": None, "n": 18, "reason": "one patient"},
        "dice_sd_of_seeds": none,
    }
    missing = dict.fromkeys(given, none)
    return {setup: {"mnms": {"clinical": missing if setup == "mnms-real" else given}} for setup in SETUPS}


@pytest.mark.parametrize(
    ("setup", "name"),
    [
        ("mnms-real-and-ddpm-full", "M&Ms real + DDPM · Full-Syn"),
        ("mnms-real-as-acdc", "M&Ms real, as many as ACDC-Syn"),
        ("mnms-real-as-full", "M&Ms real, as many as Full-Syn"),
        ("ddpm-full-seed-43", "DDPM · Full-Syn, seed 43"),
        ("mnms-real-and-ddpm-full-seed-43", "M&Ms real + DDPM · Full-Syn, seed 43"),
    ],
)
def test_names_of_further_setups(setup, name):
    assert setup_name(setup) == name


def test_the_table_has_a_row_for_each_other_training():
    table = against_real_table({"utility": utility(-0.1)}, SETUPS, ["mnms"], "mnms-real")
    assert [row[0].text for row in table.rows] == ["DDPM · Full-Syn", "M&Ms real + DDPM · Full-Syn"]
    assert [cell.text for cell in table.rows[0][1:]] == ["−0.100", "0.900", "–"]
    assert table.rows[0][1].interval == "−0.120 – −0.080"


def test_the_chart_is_drawn_where_there_are_figures():
    drawn = against_real_chart(utility(-0.1), SETUPS, ["mnms"], "mnms-real")
    assert base64.b64decode(drawn.partition(",")[2]).startswith(b"<svg")
    assert against_real_chart({"mnms-real": utility(0)["mnms-real"]}, ["mnms-real"], ["mnms"], "mnms-real") == ""
