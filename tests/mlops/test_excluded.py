"""``data.excluded`` in params.yaml: who withdrew the consent stays left out."""

from pathlib import Path

import pytest

from cmr.errors import DataErrors
from mlops.profiles import configure, exclude
from mlops.settings import PARAMS, DataSettings, section


def excluded(root: Path) -> tuple[str, ...]:
    return section("data", DataSettings, root).excluded


def test_adding_patients_changes_nothing_else(demo: Path) -> None:
    before = (demo / PARAMS).read_text()
    exclude(demo, ["acdc/patient001", "acdc/patient103"])
    exclude(demo, ["acdc/patient001", "mnms/A0S9V9"])
    assert excluded(demo) == ("acdc/patient001", "acdc/patient103", "mnms/A0S9V9")
    after = (demo / PARAMS).read_text()
    assert after.replace("[acdc/patient001, acdc/patient103, mnms/A0S9V9]", "[]") == before
    assert section("data", DataSettings, demo).excluded_of("acdc") == ("patient001", "patient103")


def test_configuring_anew_keeps_them(demo: Path) -> None:
    exclude(demo, ["acdc/patient001"])
    configure("demo", overrides=["seed=7"])
    assert excluded(demo) == ("acdc/patient001",)
    assert section("seed", int, demo) == 7


def test_only_an_explicit_word_takes_them_in_again(demo: Path) -> None:
    exclude(demo, ["acdc/patient001"])
    configure("demo", overrides=["data.excluded=[]"])
    assert excluded(demo) == ()


@pytest.mark.parametrize("name", ["patient001", "acdc/", "/patient001"])
def test_a_name_without_its_dataset_is_refused(demo: Path, name: str) -> None:
    with pytest.raises(DataErrors, match="DATASET/PATIENT was expected"):
        configure("demo", overrides=[f"data.excluded=['{name}']"])
    assert excluded(demo) == ()
