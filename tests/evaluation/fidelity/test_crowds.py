import json

import numpy as np
import pytest

from cmr.errors import DataError
from evaluation.fidelity.crowds import FEWEST, Crowd, against_n, crowd_figures, missing_crowd_figures
from evaluation.fidelity.frechet import frechet_distance
from evaluation.fidelity.unpaired import SEGMENTER
from evaluation.figure import to_json
from evaluation.statistics import IntervalSettings

SETTINGS = IntervalSettings(bootstrap=10, permutations=1, confidence=0.95)


def crowd(prefix, patients, each=6, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    names = np.repeat([f"{prefix}{number}" for number in range(patients)], each)
    return Crowd(shift + rng.normal(size=(names.size, 5)), names)


TEST, TRAIN, OTHER = crowd("p", 8), crowd("t", 8, seed=1), crowd("a", 5, shift=1.0, seed=2)
MADE, FULL = crowd("p", 8, shift=0.5, seed=3), crowd("s", 60, each=1, shift=2.0, seed=4)


def figures(made=MADE, full=FULL, **metrics):
    return crowd_figures(TEST, TRAIN, {"acdc": OTHER}, made, full, intervals=SETTINGS, seed=0, **metrics)


def test_each_crowd_stands_beside_the_same_test_images():
    found = figures()
    trees = {"made": found, "floor": found["floor"], "full": found["full"], "acdc": found["floor_datasets"]["acdc"]}
    fid = {name: tree["fid"] for name, tree in trees.items()}
    assert fid["made"].value == pytest.approx(frechet_distance(TEST.rows, MADE.rows))
    assert fid["floor"].value == pytest.approx(frechet_distance(TEST.rows, TRAIN.rows))
    assert fid["floor"].value < fid["made"].value < fid["acdc"].value < fid["full"].value
    assert {name: one.n for name, one in fid.items()} == {"made": 48, "floor": 48, "full": 48, "acdc": 30}
    json.dumps(to_json(found), allow_nan=False)


def test_the_tree_of_missing_figures_is_the_same():
    def names(tree):
        return {key: names(below) if isinstance(below, dict) else None for key, below in tree.items()}

    missing = missing_crowd_figures("no weights", ["acdc"])
    assert names(missing) == names(figures())
    assert missing["full"]["fid"].reason == missing["floor_datasets"]["acdc"]["kid"].reason == "no weights"
    assert names(figures(metrics=SEGMENTER))["full"] == {"frechet_segmenter": None}


def test_broken_features_are_refused():
    broken = np.where(FULL.rows > 4, np.nan, FULL.rows)
    with pytest.raises(DataError, match="not finite"):
        figures(full=Crowd(broken, FULL.patients))
    with pytest.raises(DataError, match="expected both from one network"):
        figures(made=Crowd(MADE.rows[:, :3], MADE.patients))


def test_few_images_are_missing_figures():
    few = MADE.draw(2, seed=0)
    found = figures(made=few)
    assert "needs at least" in found["precision"].reason
    assert found["floor"]["fid"].n == found["fid"].n == 2


def test_the_curve_falls_to_the_figure_of_all_images():
    curves = against_n(TEST, {"made": MADE, "train": TRAIN, "tiny": MADE.draw(FEWEST - 1, 0)}, seed=0)
    assert set(curves) == {"made", "train"}
    assert curves["made"]["n"] == [8, 16, 24, 32, 40, 48]
    assert curves["train"]["frechet"][-1] == pytest.approx(frechet_distance(TEST.rows, TRAIN.rows))
    assert curves["train"]["at_infinity"] < curves["train"]["frechet"][-1] < curves["train"]["frechet"][0]


def test_a_draw_holds_whole_patients():
    drawn = TRAIN.draw(12, seed=0)
    assert [names.size for names in np.unique(drawn.patients, return_counts=True)] == [2, 2]
    assert len(drawn.rows) == 12
    np.testing.assert_array_equal(TRAIN.draw(1000, seed=0).rows, TRAIN.rows)
