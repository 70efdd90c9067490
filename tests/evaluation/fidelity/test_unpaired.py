import json

import numpy as np
import pytest

from cmr.errors import DataError
from evaluation.fidelity.frechet import frechet_distance, frechet_over_rows
from evaluation.fidelity.kernel import kid
from evaluation.fidelity.manifold import precision_recall
from evaluation.fidelity.unpaired import SEGMENTER, UNPAIRED, Unpaired, compare, missing_figures, unpaired_figures
from evaluation.figure import to_json
from evaluation.statistics import IntervalSettings

SETTINGS = IntervalSettings(bootstrap=10, permutations=1, confidence=0.95)
WIDTH = 6


def crowd(patients, seed, each=8, prefix="p", width=WIDTH):
    """Features of patients, whose slices resemble each other, and the name of each slice's patient."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"{prefix}{i}" for i in range(patients)], each)
    return np.repeat(rng.normal(size=(patients, width)), each, axis=0) + rng.normal(size=(names.size, width)), names


REAL, PATIENTS = crowd(24, seed=0)
FLOOR, FLOOR_PATIENTS = crowd(30, seed=1, prefix="t")
ALIKE = REAL + 0.1 * np.random.default_rng(2).normal(size=REAL.shape)


def figures(synthetic, synthetic_patients=PATIENTS, real=REAL, real_patients=PATIENTS, floor=FLOOR, **kwargs):
    kwargs = {"floor_patients": FLOOR_PATIENTS, "intervals": SETTINGS, "seed": 0} | kwargs
    return unpaired_figures(
        real, synthetic, real_patients=real_patients, synthetic_patients=synthetic_patients, floor=floor, **kwargs
    )


def test_copies_are_better_than_the_floor_and_noise_is_worse():
    good, bad = figures(ALIKE), figures(5 + 3 * np.random.default_rng(3).normal(size=REAL.shape))
    for name in ("fid", "kid"):
        assert good[name].value < good["floor"][name].value < bad[name].value
        assert bad[name].ci_low > good["floor"][name].ci_high
    for name in ("precision", "recall"):
        assert bad[name].ci_high < good["floor"][name].value <= good[name].value
    assert good["floor"] == bad["floor"]
    assert set(good) == {*UNPAIRED, "floor"}


def test_values_are_the_metrics_of_all_images():
    found = figures(ALIKE)
    assert found["fid"].value == pytest.approx(frechet_distance(REAL, ALIKE))
    assert found["kid"].value == pytest.approx(kid(REAL, ALIKE))
    assert (found["precision"].value, found["recall"].value) == precision_recall(REAL, ALIKE)
    assert all(found[name].n == found["floor"][name].n == len(REAL) for name in UNPAIRED)
    json.dumps(to_json(found), allow_nan=False)


def test_leaving_a_patient_out_leaves_out_its_real_and_its_synthetic_images():
    """Every synthetic feature is its real one and 1 more: the distance is the number of features, whoever is left out.

    With names of their own, the synthetic images stay when their real ones go, and the distance is not certain any more.
    """
    paired = figures(REAL + 1)["fid"]
    assert (paired.ci_low, paired.value, paired.ci_high) == pytest.approx((WIDTH, WIDTH, WIDTH))
    unrelated = figures(REAL + 1, np.char.add("other-", PATIENTS))["fid"]
    assert unrelated.value == pytest.approx(WIDTH)
    assert unrelated.ci_high - unrelated.ci_low > 1


def test_the_order_of_the_rows_changes_no_figure():
    shuffled = np.random.default_rng(4).permutation(len(ALIKE))
    first, second = figures(ALIKE), figures(ALIKE[shuffled], PATIENTS[shuffled])
    for name in UNPAIRED:
        for end in ("value", "ci_low", "ci_high"):
            assert getattr(first[name], end) == pytest.approx(getattr(second[name], end))


def test_all_sets_are_drawn_down_to_the_smallest():
    many, names = crowd(60, seed=5, prefix="s")
    found = figures(many, names)
    assert {found[name].n for name in UNPAIRED} == {len(REAL)}
    few = figures(many, names, floor=FLOOR[:80], floor_patients=FLOOR_PATIENTS[:80])
    assert {few[name].n for name in UNPAIRED} | {few["floor"][name].n for name in UNPAIRED} == {80}
    assert few["fid"].value > found["fid"].value  # the fewer images, the further: why they must be as many


def test_another_seed_draws_others():
    many, names = crowd(60, seed=5, prefix="s")
    values = [figures(many, names, seed=seed, metrics=SEGMENTER)["frechet_segmenter"].value for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_without_other_real_images_the_floor_is_missing():
    found = unpaired_figures(REAL, ALIKE, real_patients=PATIENTS, synthetic_patients=PATIENTS, intervals=SETTINGS, seed=0)
    assert found["fid"].value > 0
    assert all("no other real images" in found["floor"][name].reason for name in UNPAIRED)


def test_a_share_on_which_all_agree_is_not_certain():
    found = figures(REAL + 100)
    assert found["precision"].value == found["precision"].ci_low == 0
    assert found["precision"].ci_high == pytest.approx(1 - 0.025 ** (1 / 24))


def test_one_patient_has_values_without_intervals():
    one = np.full(20, "p0")
    found = figures(ALIKE[:20], one, real=REAL[:20], real_patients=one)
    for name in UNPAIRED:
        assert found[name].value is not None
        assert found[name].ci_low is None
        assert "2 patients" in found[name].reason


def test_too_few_images_are_missing_figures():
    found = figures(ALIKE[:3], PATIENTS[:3])
    assert found["fid"].value > 0
    assert found["recall"].value is None
    assert "3 images a side; needs at least 4" in found["recall"].reason
    for images in (0, 1):
        found = figures(ALIKE[:images], PATIENTS[:images])
        assert all(f"{images} images" in found[name].reason for name in UNPAIRED)


def test_segmenter_features_have_the_frechet_distance_only():
    found = figures(ALIKE, metrics=SEGMENTER)
    assert set(found) == {"frechet_segmenter", "floor"}
    assert found["frechet_segmenter"].value == figures(ALIKE)["fid"].value


def test_a_metric_is_one_line(monkeypatch):
    def mean_gap(first, second):
        return lambda kept_first, kept_second: float(second[kept_second].mean() - first[kept_first].mean())

    monkeypatch.setitem(UNPAIRED, "mean_gap", Unpaired(mean_gap))
    assert figures(REAL + 2)["mean_gap"].value == pytest.approx(2)


def test_without_weights_every_figure_is_missing():
    tree = missing_figures("no Inception weights")
    assert set(tree) == {*UNPAIRED, "floor"}
    assert tree["floor"]["kid"].to_json() == tree["fid"].to_json() == {"value": None, "reason": "no Inception weights"}


def test_unusable_input_is_an_error():
    broken = ALIKE.copy()
    broken[5] = np.inf
    with pytest.raises(DataError, match="synthetic features: 1 rows"):
        figures(broken)
    with pytest.raises(DataError, match="floor features: 3 an image"):
        figures(ALIKE, floor=FLOOR[:, :3])
    with pytest.raises(DataError, match=r"synthetic: \(5,\) patients"):
        figures(ALIKE, PATIENTS[:5])
    with pytest.raises(DataError, match=r"floor: \(\) patients"):
        figures(ALIKE, floor_patients=None)
    with pytest.raises(DataError, match=r"\['p0'\] are in the real images and in the floor"):
        figures(ALIKE, floor_patients=np.where(FLOOR_PATIENTS == "t0", "p0", FLOOR_PATIENTS))


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("each", "width"), [(8, 6), (2, 100)], ids=["more images than features", "fewer"])
def test_the_interval_of_the_frechet_distance_covers_its_mean(paired, each, width):
    """Its mean at this number of patients and images, bias included."""
    metric = {"fid": UNPAIRED["fid"]}

    def sets(seed):
        real, names = crowd(30, 2 * seed, each, width=width)
        other = crowd(30, 2 * seed + 1, each, width=width)[0]
        return real, (real + other if paired else 1.5 * other), names, names if paired else np.char.add("s", names)

    kept = np.ones(30 * each, bool)
    truth = np.mean([frechet_over_rows(*sets(10_000 + trial)[:2])(kept, kept) for trial in range(300)])
    hits = 0
    for trial in range(150):
        real, other, names, other_names = sets(trial)
        found = compare(
            real, other, real_patients=names, other_patients=other_names, intervals=SETTINGS, seed=trial, metrics=metric
        )["fid"]
        hits += found.ci_low <= truth <= found.ci_high
    assert 0.88 <= hits / 150 <= 1
