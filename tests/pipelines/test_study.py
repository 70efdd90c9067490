"""What a generator can do against the number of patients: the choice of patients, the faults, the figure."""

import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from cmr.errors import DataError
from cmr.store import SliceStore
from mlops.study import FIGURES, limited_data
from pipelines import draw_study
from pipelines.cohort import first_patients


def _store(folder, patients: int) -> SliceStore:
    names = [f"p{number:02}" for number in range(patients) for _ in range(3)]
    index = pd.DataFrame({"subject": names, "slice": np.arange(len(names))})
    SliceStore.write(folder, index, np.zeros((len(names), 8, 8), np.uint8), np.zeros((len(names), 8, 8), np.float16))
    return SliceStore.open(folder)


def test_more_patients_hold_all_of_fewer_and_all_slices_of_each(tmp_path):
    store = _store(tmp_path / "store", 9)
    chosen = {count: first_patients(store, count, seed=3).index["subject"] for count in (1, 4, 9)}
    assert [found.nunique() for found in chosen.values()] == [1, 4, 9]
    assert set(chosen[1]) < set(chosen[4]) < set(chosen[9])
    assert all((found.value_counts() == 3).all() for found in chosen.values())
    assert set(chosen[4]) != set(first_patients(store, 4, seed=4).index["subject"])


@pytest.mark.parametrize("count", [0, -1, 10])
def test_a_number_of_patients_that_there_are_not(tmp_path, count):
    with pytest.raises(DataError, match=rf"found {count}, expected 1 to 9"):
        first_patients(_store(tmp_path / "store", 9), count, seed=0)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "params.yaml").write_text("generators: {names: [ddpm], train_on: [mnms], patients: null, sources: [full]}\n")
    return tmp_path


def test_a_study_says_what_it_needs(project):
    with pytest.raises(DataError, match="'gan' is not among"):
        limited_data(project, "gan", [2], print)
    with pytest.raises(DataError, match="syncmri run"):
        limited_data(project, "ddpm", [2], print)
    (project / "dvc.lock").touch()
    _store(project / "data/cohort/train", 6)
    for wrong in ([1, 3], [3, 7], [3, 3], []):
        with pytest.raises(DataError, match="expected different numbers from 2 to 6"):
            limited_data(project, "ddpm", wrong, print)
    assert not (project / ".syncmri").exists()


def test_the_figure_has_every_value_and_says_why_one_is_missing(tmp_path):
    rows = [
        {"patients": patients, "model": model, "figure": name, "value": patients / 40, "ci_low": 0.1, "ci_high": 0.9, "n": 7}
        for patients in (5, 10, 20)
        for model, name in (("ddpm", "mask_adherence"), ("ddpm", "dice"), ("real", "dice"), ("ddpm", "mia_auc"))
    ]
    rows += [{"patients": patients, "model": "ddpm", "figure": "kid", "reason": "no weights here"} for patients in (5, 10, 20)]
    pd.DataFrame(rows).reindex(columns=FIGURES).to_csv(tmp_path / "study.csv", index=False)
    draw_study.main(str(tmp_path / "study.csv"))
    assert ET.parse(tmp_path / "study.svg").getroot().tag.endswith("svg")
    drawn = draw_study.draw_study(pd.read_csv(tmp_path / "study.csv")).axes
    assert [len(line.get_xdata()) for axes in drawn for line in axes.get_lines()] == [3, 2, 3, 3, 3, 2]
    assert "no weights here" in drawn[1].texts[0].get_text()
