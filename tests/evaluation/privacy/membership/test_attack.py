import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from cmr.errors import DataError
from evaluation.privacy.membership.attack import attack_figures, centred, trained_scores, untrained_scores
from evaluation.statistics import IntervalSettings

INTERVALS = IntervalSettings(bootstrap=300, permutations=1, confidence=0.95)


def people(count, each=8):
    """``count`` members and ``count`` non-members: sides and patients of the slices."""
    patients = np.repeat([f"p{number}" for number in range(2 * count)], each)
    return np.arange(2 * count * each) < count * each, patients


def normal_scores(count, rng, shift=0.0, between=1.0, each=8):
    """Scores with an effect of the patient (deviation ``between``) and of the slice (1), members higher by ``shift``."""
    members, _ = people(count, each)
    return np.repeat(rng.normal(scale=between, size=2 * count), each) + rng.normal(size=len(members)) + shift * members


def figures(scores, members, patients):
    return attack_figures(scores, members, patients, INTERVALS, seed=0)


def test_auc_is_the_area_with_ties_counted_half():
    rng = np.random.default_rng(0)
    members, patients = people(6)
    scores = rng.integers(0, 5, len(members)) + members
    found = figures(scores, members, patients)
    assert found["auc"].value == pytest.approx(roc_auc_score(members, scores))
    assert found["auc"].n == len(members)
    means = np.array([scores[patients == name].mean() for name in np.unique(patients)])
    sides = np.array([members[patients == name][0] for name in np.unique(patients)])
    assert found["patient"]["auc"].value == pytest.approx(roc_auc_score(sides, means))
    assert found["patient"]["auc"].n == 12


def test_a_known_margin_gives_the_known_auc_and_rate():
    """For normal scores with the margin δ, AUC = Φ(δ/√2) and TPR = Φ(δ - z)."""
    members, patients = people(500, each=10)
    scores = normal_scores(500, np.random.default_rng(0), shift=1.5, between=0, each=10)
    found = figures(scores, members, patients)
    assert found["auc"].value == pytest.approx(stats.norm.cdf(1.5 / np.sqrt(2)), abs=0.01)
    assert found["tpr_at_1_fpr"].value == pytest.approx(stats.norm.cdf(1.5 - stats.norm.ppf(0.99)), abs=0.03)
    assert found["tpr_at_10_fpr"].value == pytest.approx(stats.norm.cdf(1.5 - stats.norm.ppf(0.9)), abs=0.02)


def test_the_rate_never_allows_more_false_positives_than_it_says():
    rng = np.random.default_rng(0)
    members, patients = people(4, each=25)
    scores = np.round(rng.normal(size=200) + members, 1)  # with ties
    thresholds = [t for t in np.append(scores, np.inf) if np.mean(scores[~members] >= t) <= 0.1]
    expected = max(np.mean(scores[members] >= t) for t in thresholds)
    assert figures(scores, members, patients)["tpr_at_10_fpr"].value == pytest.approx(expected)


def test_a_rate_finer_than_one_non_member_is_missing():
    members, patients = people(12)  # 96 slices on either side
    found = figures(normal_scores(12, np.random.default_rng(0)), members, patients)
    assert "1% needs 100 non-members; there are 96 slices" in found["tpr_at_1_fpr"].reason
    assert found["tpr_at_10_fpr"].value is not None
    assert "1% needs 100 non-members; there are 12 patients" in found["patient"]["tpr_at_1_fpr"].reason
    assert found["patient"]["tpr_at_10_fpr"].value is not None


def test_scores_of_equal_size_tell_nothing():
    members, patients = people(6, each=20)
    found = figures(np.zeros(240), members, patients)
    assert found["auc"].value == 0.5
    assert found["tpr_at_1_fpr"].value == 0


def test_full_separation_is_no_surer_than_its_patients():
    members, patients = people(12)
    found = figures(members.astype(float), members, patients)
    assert found["auc"].value == found["tpr_at_10_fpr"].value == 1
    assert found["auc"].ci_low == pytest.approx(0.025 ** (1 / 12))
    assert found["tpr_at_10_fpr"].ci_low == pytest.approx(0.025 ** (1 / 12))


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_interval_covers_the_true_auc(shift):
    """12 against 12 patients, with half of the variance between patients."""
    rng = np.random.default_rng(1)
    members, patients = people(12)
    true = stats.norm.cdf(shift / 2)
    found = [figures(normal_scores(12, rng, shift), members, patients)["auc"] for _ in range(100)]
    covered = np.mean([figure.ci_low <= true <= figure.ci_high for figure in found])
    assert covered >= 0.9
    assert np.mean([figure.value for figure in found]) == pytest.approx(true, abs=0.03)


def test_the_interval_is_the_patients_and_not_the_slices():
    rng = np.random.default_rng(0)
    members, patients = people(12)
    scores = normal_scores(12, rng, between=2)
    by_patient, by_slice = figures(scores, members, patients)["auc"], figures(scores, members, np.arange(192))["auc"]
    assert by_patient.value == by_slice.value
    assert by_patient.ci_high - by_patient.ci_low > 1.5 * (by_slice.ci_high - by_slice.ci_low)


def test_an_attack_that_is_trained_finds_a_margin_and_no_more_than_chance_without():
    rng = np.random.default_rng(2)
    members, patients = people(12)

    def found(shift):
        features = np.stack([normal_scores(12, rng, shift) for _ in range(4)], axis=1)
        return figures(trained_scores(features, members, patients, np.zeros(len(features)), seed=0), members, patients)["auc"]

    assert found(1.5).ci_low > 0.6
    by_chance = [found(0.0) for _ in range(10)]
    assert np.mean([figure.ci_low <= 0.5 <= figure.ci_high for figure in by_chance]) >= 0.9
    assert np.mean([figure.value for figure in by_chance]) == pytest.approx(0.5, abs=0.08)


def test_shuffled_labels_give_chance():
    """Sides dealt anew to the same patients of a clearly separable set."""
    rng = np.random.default_rng(0)
    members, patients = people(12)
    features = normal_scores(12, rng, shift=3, between=0.3)[:, None]
    assert (
        figures(trained_scores(features, members, patients, np.zeros(len(features)), 0), members, patients)["auc"].value > 0.95
    )
    values = []
    for _ in range(10):
        shuffled = np.repeat(rng.permutation(members[::8]), 8)
        values.append(
            figures(trained_scores(features, shuffled, patients, np.zeros(len(features)), 0), shuffled, patients)["auc"].value
        )
    assert np.mean(values) == pytest.approx(0.5, abs=0.12)


def test_folds_by_slice_would_leak_and_folds_by_patient_do_not():
    """Features that tell only who a patient is: worthless for patients never seen."""
    rng = np.random.default_rng(0)
    members, patients = people(12)
    features = np.repeat(rng.normal(size=(24, 30)), 8, axis=0) + 0.1 * rng.normal(size=(192, 30))
    leaking = trained_scores(features, members, np.arange(192), np.zeros(192), seed=0)  # as if each slice were a patient
    assert roc_auc_score(members, leaking) > 0.99
    assert 0.2 < roc_auc_score(members, trained_scores(features, members, patients, np.zeros(len(features)), seed=0)) < 0.8


def test_the_order_of_the_slices_changes_nothing():
    rng = np.random.default_rng(0)
    members, patients = people(6)
    features, order = rng.normal(size=(96, 3)), rng.permutation(96)
    plain = trained_scores(features, members, patients, np.zeros(len(features)), seed=0)
    assert trained_scores(features[order], members[order], patients[order], np.zeros(len(order)), seed=0) == pytest.approx(
        plain[order], abs=1e-4
    )


def test_a_lower_error_is_a_higher_score():
    assert untrained_scores(np.array([[1.0, 3.0], [0.0, 1.0]])).tolist() == [-2, -0.5]


def test_one_patient_on_a_side_has_no_interval():
    patients = np.array(["a", "a", "b", "c"])
    found = figures(np.array([3.0, 2.0, 1.0, 0.0]), patients == "a", patients)["auc"]
    assert found.value == 1
    assert found.ci_low is None
    assert "at least 2 patients" in found.reason


def test_unusable_input_is_an_error_or_missing():
    members, patients = people(2, each=2)
    scores = np.zeros(8)
    assert "no members" in figures(scores, np.zeros(8, dtype=bool), patients)["auc"].reason
    with pytest.raises(DataError, match=r"row 3 .* not finite"):
        figures(np.where(np.arange(8) == 3, np.nan, 0), members, patients)
    with pytest.raises(DataError, match="both members and non-members"):
        figures(scores, members, np.repeat("a", 8))
    with pytest.raises(DataError, match="for 8 slices"):
        figures(scores, members, patients[:-1])
    with pytest.raises(DataError, match="at least 2 patients on either side"):
        trained_scores(scores[:6, None], members[:6], patients[:6], np.zeros(6), seed=0)


def test_scanners_that_differ_do_not_turn_chance_into_an_answer():
    """Errors that tell the scanner and nothing else: with folds dealt without regard to it, the AUC was 0.2 to 0.35."""
    members, patients = people(12, each=3)
    kinds = np.tile(np.repeat(np.arange(4), 9), 2)
    values = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        features = np.repeat(rng.normal(size=(24, 1)), 3, axis=0) + 5 * kinds[:, None] + 0.3 * rng.normal(size=(72, 6))
        values.append(roc_auc_score(members, trained_scores(features, members, patients, kinds, seed=0)))
    assert 0.42 < np.mean(values) < 0.58


def test_within_a_scanner_a_memory_is_found_that_scanners_hide():
    members, patients = people(12, each=3)
    kinds = np.tile(np.repeat(["a", "b", "c", "d"], 9), 2)
    rng = np.random.default_rng(0)
    errors = 5.0 * (kinds == "b") + 2.5 * (kinds == "c") - 9.0 * (kinds == "d") - 1.0 * members + 0.2 * rng.normal(size=72)
    assert roc_auc_score(members, -errors) < 0.65
    assert roc_auc_score(members, untrained_scores(centred(errors[:, None], kinds))) > 0.99
    assert roc_auc_score(members, trained_scores(errors[:, None], members, patients, kinds, seed=0)) > 0.99


def test_each_slice_has_a_kind():
    with pytest.raises(DataError, match="expected one each"):
        centred(np.zeros((3, 1)), ["a"])
