import numpy as np
import pytest
from scipy import stats

from cmr.errors import DataError
from evaluation.statistics import (
    IntervalSettings,
    bootstrap_mean,
    bootstrap_ratio,
    bootstrap_share,
    deal_groups,
    holm,
    jackknife,
    ks_d,
    ks_p_value,
    permutation_p_value,
)

SETTINGS = IntervalSettings(bootstrap=1000, permutations=199, confidence=0.95)


def test_bootstrap_of_equal_values_has_no_width():
    figure = bootstrap_mean([2.0] * 6, list("aabbcc"), SETTINGS, seed=0)
    assert (figure.value, figure.ci_low, figure.ci_high, figure.n) == (2.0, 2.0, 2.0, 6)


def test_bootstrap_mean_weighs_every_observation_alike():
    assert bootstrap_mean([1.0, 1.0, 1.0, 5.0], list("aaab"), SETTINGS, seed=0).value == 2.0


def test_ratio_to_ones_is_the_mean():
    values, patients = np.random.default_rng(2).normal(size=12), np.repeat(list("abcd"), 3)
    assert bootstrap_ratio(values, np.ones(12), patients, SETTINGS, 5) == bootstrap_mean(values, patients, SETTINGS, 5)


def test_ratio_of_proportional_values_is_certain_however_much_they_vary():
    values = np.random.default_rng(2).uniform(1, 9, size=12)
    figure = bootstrap_ratio(0.3 * values, values, np.arange(12), SETTINGS, seed=0)
    assert (figure.value, figure.ci_low, figure.ci_high) == pytest.approx((0.3, 0.3, 0.3))
    assert figure.n == 12


def test_a_ratio_to_nothing_is_missing():
    assert bootstrap_ratio([1.0, 2.0], [0.0, 0.0], list("ab"), SETTINGS, seed=0).value is None
    figure = bootstrap_ratio([1.0, 2.0], [0.0, 1.0], list("ab"), SETTINGS, seed=0)
    assert figure.value == 3.0
    assert figure.ci_low is None
    assert "ratio to 0" in figure.reason


def test_bootstrap_interval_is_about_the_t_interval():
    values = np.random.default_rng(0).normal(size=60)
    figure = bootstrap_mean(values, np.arange(60), IntervalSettings(20000, 1, 0.95), seed=1)
    reach = stats.t.ppf(0.975, 59) * stats.sem(values)
    assert figure.ci_high - figure.ci_low == pytest.approx(2 * reach, rel=0.03)


def test_repeating_a_patients_slices_does_not_narrow_the_interval():
    values = np.random.default_rng(0).normal(size=12)
    once = bootstrap_mean(values, np.arange(12), SETTINGS, seed=3)
    tenfold = bootstrap_mean(np.repeat(values, 10), np.repeat(np.arange(12), 10), SETTINGS, seed=3)
    assert tenfold.ci_low == pytest.approx(once.ci_low)
    assert tenfold.ci_high == pytest.approx(once.ci_high)


@pytest.mark.slow
@pytest.mark.parametrize("patients", [6, 25])
def test_bootstrap_covers_the_mean_of_gaussian_clusters(patients):
    rng = np.random.default_rng(7)
    names = np.repeat(np.arange(patients), 8)
    hits = 0
    for trial in range(600):
        values = rng.normal(size=patients)[names] + 0.5 * rng.normal(size=names.size)
        figure = bootstrap_mean(values, names, SETTINGS, seed=trial)
        hits += figure.ci_low <= 0 <= figure.ci_high
    assert 0.92 <= hits / 600 <= 0.98


def test_one_patient_has_a_value_and_a_reason_but_no_interval():
    figure = bootstrap_mean([1.0, 3.0], ["a", "a"], SETTINGS, seed=0)
    assert figure.value == 2.0
    assert figure.ci_low is None
    assert figure.ci_high is None
    assert "2 patients" in figure.reason


def test_no_observations_is_a_missing_figure():
    assert bootstrap_mean([], [], SETTINGS, seed=0).value is None


def test_not_a_number_is_an_error_that_names_the_patient():
    with pytest.raises(DataError, match="patient b"):
        bootstrap_mean([1.0, np.nan], ["a", "b"], SETTINGS, seed=0)


def test_settings_out_of_range_are_an_error():
    with pytest.raises(DataError, match="confidence"):
        IntervalSettings(bootstrap=10, permutations=10, confidence=95)


def test_a_unanimous_share_gets_the_exact_binomial_interval():
    none = bootstrap_share([False] * 10, np.arange(10), SETTINGS, seed=0)
    exact = stats.binomtest(0, 10).proportion_ci(0.95, method="exact")
    assert (none.ci_low, none.ci_high) == pytest.approx((exact.low, exact.high))
    every = bootstrap_share([True] * 10, np.arange(10), SETTINGS, seed=0)
    assert (every.ci_low, every.ci_high) == pytest.approx((1 - exact.high, 1.0))


@pytest.mark.parametrize("size", [15, 20])
def test_jackknife_of_a_mean_is_the_t_interval(size):
    values = np.random.default_rng(0).normal(size=size)
    groups = deal_groups([np.arange(size)], seed=0)
    figure = jackknife(lambda out: np.delete(values, out).mean(), groups, n=size, settings=SETTINGS)
    low, high = stats.t.interval(0.95, size - 1, values.mean(), stats.sem(values))
    assert (figure.value, figure.ci_low, figure.ci_high) == pytest.approx((values.mean(), low, high))


@pytest.mark.slow
def test_jackknife_covers_with_groups_of_unequal_size():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(500):
        values = rng.normal(size=50)
        groups = deal_groups([np.arange(50)], seed=trial)
        figure = jackknife(lambda out, v=values: np.delete(v, out).mean(), groups, n=50, settings=SETTINGS)
        hits += figure.ci_low <= 0 <= figure.ci_high
    assert 0.92 <= hits / 500 <= 0.98


def test_jackknife_of_a_difference_of_means_is_the_welch_interval():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=9), rng.normal(scale=3, size=15)
    names = np.array([f"a{i}" for i in range(9)]), np.array([f"b{i}" for i in range(15)])

    def difference(out):
        return a[~np.isin(names[0], out)].mean() - b[~np.isin(names[1], out)].mean()

    figure = jackknife(difference, deal_groups(names, 0), n=24, settings=SETTINGS)
    welch = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (figure.ci_low, figure.ci_high) == pytest.approx((welch.low, welch.high))


def test_jackknife_of_one_patient_or_of_an_undefined_figure_has_no_interval():
    one = jackknife(lambda out: 1.0, deal_groups([["a"]], 0), n=3, settings=SETTINGS)
    assert (one.value, one.ci_low) == (1.0, None)
    fragile = jackknife(lambda out: float("nan") if len(out) else 1.0, deal_groups([["a", "b"]], 0), n=3, settings=SETTINGS)
    assert fragile.ci_low is None
    assert "left out" in fragile.reason
    assert jackknife(lambda out: float("nan"), deal_groups([["a", "b"]], 0), n=3, settings=SETTINGS).value is None


def test_jackknife_interval_is_cut_to_the_range_of_a_share():
    values = np.array([0.0] * 9 + [1.0])
    figure = jackknife(
        lambda out: np.delete(values, out).mean(), deal_groups([np.arange(10)], 0), n=10, settings=SETTINGS, limits=(0, 1)
    )
    assert figure.ci_low == 0.0
    assert 0.1 < figure.ci_high < 1


def test_groups_hold_every_patient_once():
    groups = deal_groups([[f"t{i}" for i in range(47)], [f"h{i}" for i in range(12)], ["t1", "x"]], seed=0)
    assert [len(stratum) for stratum in groups] == [20, 12, 1]
    assert sorted(np.concatenate(groups[0])) == sorted(f"t{i}" for i in range(47))
    assert {len(group) for group in groups[0]} == {2, 3}
    assert groups[2][0].tolist() == ["x"]
    assert deal_groups([["a", "b"], ["b"]], seed=0)[1:] == []


def test_holm_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0


def test_ks_of_equal_and_of_separate_samples():
    values = np.arange(50.0)
    assert ks_d(values, values) == 0
    assert ks_p_value(values, values) == 1
    assert ks_d(values, values + 100) == 1
    assert ks_p_value(values, values + 100) < 1e-10


def test_permutation_tells_separate_patients_apart_and_equal_ones_not():
    values, patients = np.arange(40.0), np.repeat(np.arange(10), 4)
    assert permutation_p_value(values, patients, values + 100, patients, SETTINGS, seed=1) == 1 / 200
    assert permutation_p_value(values, patients, values, patients, SETTINGS, seed=0) == 1.0
    assert permutation_p_value(values, np.zeros(40), values, patients, SETTINGS, seed=0) is None


def test_permutation_statistic_handles_ties_like_scipy():
    """Two patients a side with one value each: of the 6 ways to choose sides, the extreme distance 1 comes in 2."""
    many = IntervalSettings(1, 4000, 0.95)
    p = permutation_p_value([0.0, 0.0], ["a", "b"], [1.0, 1.0], ["c", "d"], many, seed=0)
    assert p == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.slow
def test_permuting_patients_keeps_its_size_where_the_plain_test_does_not():
    rng = np.random.default_rng(5)
    patients = np.repeat(np.arange(12), 10)
    plain, clustered, trials = 0, 0, 200
    for trial in range(trials):
        a, b = (rng.normal(size=12)[patients] + 0.3 * rng.normal(size=120) for _ in range(2))
        plain += ks_p_value(a, b) < 0.05
        clustered += permutation_p_value(a, patients, b, patients, SETTINGS, seed=trial) < 0.05
    assert plain / trials > 0.3
    assert clustered / trials < 0.1
