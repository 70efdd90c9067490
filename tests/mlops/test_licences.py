import pytest

from mlops.licences import allowed_uses, forbidden


@pytest.mark.parametrize(
    ("licence", "uses"),
    [
        ("CC BY-NC-SA 4.0", ("research",)),
        ("CC-BY-NC-4.0", ("research",)),
        ("CC BY-SA 4.0", ("research", "commercial")),
        ("cc by 4.0", ("research", "commercial")),
        ("CC0 1.0", ("research", "commercial")),
        ("Apache-2.0", ("research", "commercial")),
        ("CC BY-NC-ND 4.0", ()),
        ("as agreed with the clinic", None),
        ("", None),
    ],
)
def test_what_a_licence_allows(licence: str, uses: tuple[str, ...] | None) -> None:
    assert allowed_uses(licence) == uses


def test_no_demand_is_always_met() -> None:
    assert forbidden(("as agreed with the clinic",), None) == []
    assert forbidden((), None) == []


def test_a_demand_is_met_by_all_licences_or_refused_by_name() -> None:
    assert forbidden(("CC BY-NC-SA 4.0", "CC BY 4.0"), "research") == []
    (fault,) = forbidden(("CC BY-NC-SA 4.0", "CC BY 4.0"), "commercial")
    assert fault == "gate.use asks for commercial use; CC BY-NC-SA 4.0 allows research only"
    (fault,) = forbidden(("as agreed",), "research")
    assert "nothing is known of the licence “as agreed”" in fault
    (fault,) = forbidden((), "research")
    assert "not known" in fault
