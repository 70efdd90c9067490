import pytest

from evaluation.figure import Figure, to_json


@pytest.mark.parametrize(
    "figure",
    [
        Figure(0.5, 0.4, 0.6, 12),
        Figure(0.5, n=12, reason="no interval: it needs at least 2 patients"),
        Figure.missing("no data"),
    ],
)
def test_json_round_trip(figure):
    assert Figure.from_json(figure.to_json()) == figure


def test_json_has_the_reports_names():
    assert Figure(0.5, 0.4, 0.6, 12).to_json() == {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 12}
    assert Figure.missing("no data").to_json() == {"value": None, "reason": "no data"}


def test_a_tree_of_figures_becomes_json():
    tree = {"LV": {"area": Figure(3.0)}, "share": Figure.missing("none")}
    assert to_json(tree) == {
        "LV": {"area": {"value": 3.0, "ci_low": None, "ci_high": None, "n": None}},
        "share": {"value": None, "reason": "none"},
    }
