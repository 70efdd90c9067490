import numpy as np
import pytest

from cmr.errors import DataError
from cmr.labels import RV, STRUCTURES
from evaluation.figure import Figure, to_json
from evaluation.masks import mask_figures, measure_masks, pseudo_patients, redraw_figures
from evaluation.shapes import FEATURES
from evaluation.statistics import IntervalSettings, ks_p_value, permutation_p_value
from tests.evaluation.hearts import hearts

SETTINGS = IntervalSettings(bootstrap=200, permutations=99, confidence=0.95)


def measured(masks, patients):
    return measure_masks(masks, np.array([f"p{i % patients}" for i in range(len(masks))]))


@pytest.fixture(scope="module")
def real():
    return measured(hearts(24, seed=0), 8)


@pytest.fixture(scope="module")
def floor():
    return measured(hearts(12, seed=1), 4)


def test_every_figure_has_the_reports_names(real, floor):
    figures = mask_figures(real, measured(hearts(20, seed=2), 20), floor, intervals=SETTINGS, seed=0)
    for structure in STRUCTURES:
        for feature in FEATURES:
            entry = figures[structure][feature]
            assert set(entry) == {
                *("real", "generated", "floor", "ks_d", "p_value", "p_value_holm"),
                *("p_value_permutation", "p_value_permutation_holm"),
                *("floor_ks_d", "floor_p_value", "floor_p_value_permutation"),
            }
            assert entry["real"].ci_low <= entry["real"].value <= entry["real"].ci_high
            assert entry["p_value"].value <= entry["p_value_holm"].value
    assert figures["valid_share"].value == figures["valid_share_real"].value == 1
    assert figures["valid_share"].ci_low < 1
    assert to_json(figures)["LV"]["area"]["real"]["n"] == 24


def test_the_same_masks_again_are_indistinguishable(real, floor):
    figures = mask_figures(real, real, floor, intervals=SETTINGS, seed=0)
    for structure in STRUCTURES:
        for feature in FEATURES:
            assert figures[structure][feature]["ks_d"].value == 0
            assert figures[structure][feature]["p_value"].value == 1
            assert figures[structure][feature]["p_value_permutation"].value == 1


def test_other_hearts_of_the_same_kind_do_not_differ_but_swollen_ones_do(real, floor):
    alike = mask_figures(real, measured(hearts(24, seed=2), 24), floor, intervals=SETTINGS, seed=0)
    assert alike["LV"]["area"]["p_value_permutation_holm"].value > 0.05
    swollen = hearts(24, seed=3)
    swollen[:, 10:54, 10:54] = np.maximum(swollen[:, 10:54, 10:54], RV)
    figures = mask_figures(real, measured(swollen, 24), floor, intervals=SETTINGS, seed=0)
    assert figures["RV"]["area"]["ks_d"].value == 1
    assert figures["RV"]["area"]["p_value_holm"].value < 1e-6
    assert figures["RV"]["area"]["p_value_permutation"].value == 0.01


def test_a_structure_that_is_never_generated_is_missing_with_a_reason(real, floor):
    masks = hearts(6, seed=4)
    masks[masks == RV] = 0
    figures = mask_figures(real, measured(masks, 6), floor, intervals=SETTINGS, seed=0)
    assert figures["RV"]["area"]["generated"] == Figure.missing("no generated mask shows the RV")
    assert figures["RV"]["area"]["p_value_holm"].value is None
    assert figures["LV"]["area"]["p_value_holm"].value is not None
    assert figures["present"]["RV"]["generated"].value == 0
    assert figures["present"]["RV"]["real"].value == 1


def test_broken_masks_lower_the_valid_share(real, floor):
    masks = hearts(10, seed=5)
    masks[:4, :2, :2] = RV
    figures = mask_figures(real, measured(masks, 10), floor, intervals=SETTINGS, seed=0)
    assert figures["valid_share"].value == pytest.approx(0.6)
    assert figures["validity"]["components"]["generated"].value == pytest.approx(0.6)
    assert figures["validity"]["ring"]["generated"].value == 1


def test_the_filter_is_taken_back_for_the_share_of_first_draws():
    masks = hearts(10, seed=5)
    masks[:2, :2, :2] = RV  # never valid, after three draws
    attempts = np.array([3, 3, 2, 1, 1, 1, 1, 1, 1, 1])  # the third became valid with its second
    figures = redraw_figures(measured(masks, 10), attempts, intervals=SETTINGS, seed=0)
    assert figures["valid_share_first_draw"].value == pytest.approx(0.7)
    assert (figures["drawn_again"].value, figures["drawn_again"].n) == (3, 10)
    assert figures["stayed_invalid"].value == 2


def test_attempts_of_other_masks_are_refused():
    with pytest.raises(DataError, match="attempts for"):
        redraw_figures(measured(hearts(3, seed=5), 3), np.ones(4, int), intervals=SETTINGS, seed=0)


def test_one_patient_has_no_interval(floor):
    one = measured(hearts(4, seed=0), 1)
    figures = mask_figures(one, floor, floor, intervals=SETTINGS, seed=0)
    assert figures["LV"]["area"]["real"].ci_low is None
    assert figures["LV"]["area"]["p_value_permutation"].value is None


def test_no_masks_is_an_error(real):
    with pytest.raises(DataError, match="generated set"):
        mask_figures(real, measured(np.zeros((0, 8, 8), np.uint8), 1), real, intervals=SETTINGS, seed=0)


def test_bundles_are_of_equal_size():
    assert np.bincount(pseudo_patients(23, 5, seed=0)).tolist() == [5, 5, 5, 4, 4]
    assert np.unique(pseudo_patients(3, 5, seed=0)).size == 3


@pytest.mark.slow
def test_bundles_keep_the_permutation_test_at_its_size():
    """Real values clustered by patient against independent ones of the same distribution: about 5 % false alarms."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 10)
    plain = bundled = 0
    for trial in range(200):
        real = np.sqrt(0.8) * rng.normal(size=20)[patients] + np.sqrt(0.2) * rng.normal(size=200)
        generated = rng.normal(size=200)
        plain += ks_p_value(real, generated) < 0.05
        bundles = pseudo_patients(200, 20, trial)
        bundled += permutation_p_value(real, patients, generated, bundles, SETTINGS, trial) < 0.05
    assert plain / 200 > 0.25
    assert 0.01 <= bundled / 200 <= 0.1
