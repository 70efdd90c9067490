"""``syncmri evaluate`` without the command line: sets that fit, and sets that do not."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from cmr.errors import DataError, DataErrors
from cmr.folder import ImageSet, read_masks
from evaluation import sets
from evaluation.networks import weights
from evaluation.sets import check_comparable, evaluate_fidelity, evaluate_masks, evaluate_privacy, evaluate_utility
from evaluation.statistics import IntervalSettings
from tests.cmr.stored import placed, save, turned
from tests.evaluation.hearts import hearts
from tests.evaluation.utility.volumes import drawn_test_set

SIZE = 32


@pytest.fixture(autouse=True)
def _quick_and_without_weights(monkeypatch):
    monkeypatch.setattr(sets, "INTERVALS", IntervalSettings(bootstrap=50, permutations=50, confidence=0.95))

    def no_weights(name):
        raise DataErrors(f"No weights for {name}", ["tried in vain"])

    monkeypatch.setattr(weights, "load", no_weights)


def drawn(name, patients=4, slices=3, seed=0, masks=True):
    rng = np.random.default_rng(seed)
    index = pd.DataFrame(
        [
            {"name": f"{name}{patient}_{number}", "subject": f"{name}{patient}", "vendor": "unknown"}
            for patient in range(patients)
            for number in range(slices)
        ]
    )
    labels = hearts(len(index), seed, SIZE)
    images = np.clip(labels / 1.5 - 1 + rng.normal(0, 0.1, labels.shape), -1, 1).astype(np.float32)
    return ImageSet(Path(name), images, labels if masks else None, index)


def test_fidelity_of_a_set_with_itself_is_perfect():
    real = drawn("real")
    found = evaluate_fidelity(real, real).figures
    assert found["ssim"].value == pytest.approx(1)
    assert found["psnr"].value == pytest.approx(100)
    assert found["floor"]["ssim"].value < 1
    for name in ("lpips", "fid", "kid", "precision", "recall"):
        assert (found[name].value, found[name].reason) == (
            None,
            "No weights for " + ("lpips-vgg16" if name == "lpips" else "inception-fid"),
        )


def test_folders_pair_by_file_name_and_have_no_masks_for_a_floor():
    real = drawn("real", masks=False)
    found = evaluate_fidelity(real, real).figures
    assert found["ssim"].value == pytest.approx(1)
    assert found["floor"]["ssim"].value is None


def test_what_is_not_paired_has_no_paired_figures():
    found = evaluate_fidelity(drawn("real"), drawn("made", seed=1)).figures
    assert (found["ssim"].value, found["ssim"].reason) == (None, "their masks differ")
    found = evaluate_fidelity(drawn("real", masks=False), drawn("made", masks=False)).figures
    assert found["ssim"].reason == "their file names differ"
    found = evaluate_fidelity(drawn("real"), drawn("real", patients=3)).figures
    assert found["ssim"].reason == "12 real and 9 synthetic images"


def test_fid_with_weights_and_with_too_few_images(monkeypatch):
    class Features:
        def __call__(self, images):
            return images.reshape(len(images), -1)[:, :8].astype(float) + np.random.default_rng(0).normal(size=(len(images), 8))

    from evaluation.networks import inception

    monkeypatch.setattr(inception, "InceptionFeatures", Features)
    found = evaluate_fidelity(drawn("real"), drawn("made", seed=1), drawn("other", seed=2)).figures
    assert found["fid"].value is not None
    assert found["floor"]["kid"].value is not None
    found = evaluate_fidelity(drawn("real", 1, 1), drawn("made", 1, 1, seed=1)).figures
    assert "1 images a side; needs at least" in found["kid"].reason
    one_patient = evaluate_fidelity(drawn("real", 1, 6), drawn("made", 1, 6, seed=1)).figures
    assert one_patient["kid"].ci_low is None
    assert "at least 2 patients" in one_patient["kid"].reason


def test_privacy_finds_a_planted_leak_and_names_the_pairs():
    train, holdout = drawn("train", 8, seed=1), drawn("hold", 8, seed=2)
    leaked = ImageSet(Path("made"), train.images, None, drawn("made", 8).index)
    found = evaluate_privacy(leaked, train, holdout)
    assert found.figures["closer_to_train"].value == 1
    assert found.figures["nn_l2"].value == pytest.approx(0, abs=1e-4)
    assert found.figures["nn_lpips"].reason == "No weights for lpips-vgg16"
    pair = found.pairs[0]
    assert pair["train"].removeprefix("train") == pair["synthetic"].removeprefix("made")


def test_privacy_with_one_patient_a_side_has_no_intervals():
    found = evaluate_privacy(drawn("made", 1), drawn("train", 1, seed=1), drawn("hold", 1, seed=2)).figures
    assert found["nn_l2"].value > 0
    assert found["nn_l2"].ci_low is None
    with pytest.raises(DataError, match=r"train0, train1, train2, train3 are in both.*patients\.csv"):
        evaluate_privacy(drawn("made"), drawn("train"), drawn("train"))


def test_masks():
    real, made, floor = (drawn(name, seed=seed) for seed, name in enumerate(("real", "made", "floor")))
    found = evaluate_masks(real, made, floor).figures
    assert found["LV"]["area"]["floor_ks_d"].value is not None
    found = evaluate_masks(real, made).figures
    assert "floor" not in found["LV"]["area"]
    assert found["LV"]["area"]["ks_d"].value is not None


def _segmented(masks, index, name="s"):
    named = index.assign(name=[f"{name} {row}" for row in range(len(index))], vendor="unknown")
    return ImageSet(Path(name), None, masks, named)


def test_utility_of_volumes_and_of_single_slices():
    truth, index = drawn_test_set(size=SIZE)
    found = evaluate_utility(_segmented(truth, index), _segmented(truth, index)).figures
    assert (found["clinical"]["dice"].value, found["paper"]["dice"].value) == (1, 1)
    single = index.assign(slice_mm=np.nan)
    found = evaluate_utility(_segmented(truth, single), _segmented(truth, single)).figures
    assert found["paper"]["dice"].value == 1
    assert "3D NIfTI" in found["clinical"]["dice"].reason


def test_utility_of_empty_masks():
    truth, index = drawn_test_set(size=SIZE)
    nothing = np.zeros_like(truth)
    found = evaluate_utility(_segmented(nothing, index), _segmented(truth, index)).figures["clinical"]
    assert (found["dice"].value, found["misses"].value) == (0, 18)
    found = evaluate_utility(_segmented(truth, index), _segmented(nothing, index)).figures["clinical"]
    assert (found["dice"].value, found["false_finds"].value) == (0, 18)
    found = evaluate_utility(_segmented(nothing, index), _segmented(nothing, index)).figures["clinical"]
    assert (found["dice"].value, found["dice"].reason) == (None, "no case has this score")


def test_utility_needs_the_same_masks():
    truth, index = drawn_test_set(size=SIZE)
    with pytest.raises(DataError, match="masks for the"):
        evaluate_utility(_segmented(truth[1:], index[1:]), _segmented(truth, index))
    with pytest.raises(DataError, match="names are not in both"):
        evaluate_utility(_segmented(truth, index, "a"), _segmented(truth, index, "b"))


def test_sets_that_cannot_be_compared():
    real = drawn("real")
    small = ImageSet(Path("small"), real.images[:, :16], None, real.index)
    with pytest.raises(DataError, match="small: 16 × 32 pixels; real has 32 × 32"):
        check_comparable(real, small)
    tiny = ImageSet(Path("tiny"), real.images[:, 10:22, 10:22], None, real.index)
    with pytest.raises(DataError, match="at least 16"):
        check_comparable(tiny, tiny)
    shifted = ImageSet(Path("unit"), (real.images + 1) / 2, None, real.index)
    with pytest.raises(DataError, match="unit: values from 0 to 1, black being -1"):
        check_comparable(real, shifted)
    coarse, fine = (
        ImageSet(Path(f"{size}"), real.images, None, real.index.assign(row_mm=size, column_mm=size)) for size in (2.5, 1.25)
    )
    with pytest.raises(DataError, match=r"pixels of 1.25 × 1.25 mm; 2.5 has 2.5 × 2.5 mm"):
        check_comparable(coarse, fine)
    check_comparable(coarse, real)  # one that does not know its pixel size
    with pytest.raises(DataError, match="holds images and no masks"):
        check_comparable(drawn("real", masks=False), masks=True)


def volumes(folder: Path, *, slices: tuple[int, ...], wrong: bool = False, **how) -> Path:
    """A NIfTI mask a patient; ``wrong``: a column is empty; ``how``: codes, or an affine."""
    for number, count in enumerate(slices):
        labels = np.repeat(hearts(1, number, SIZE), count, axis=0)
        if wrong:
            labels[:, :, 15] = 0
        image = placed(labels, (8.0, 1.5, 1.5))
        if "affine" in how:
            image = nib.Nifti1Image(image.dataobj, how["affine"])
            image.header.set_zooms((1.5, 1.5, 8.0))
        save(folder / f"patient{number:03d}_ED.nii.gz", turned(image, how["codes"]) if "codes" in how else image)
    return folder


def test_one_thin_volume_costs_its_own_figures_alone(tmp_path):
    truth = volumes(tmp_path / "truth", slices=(4, 4, 4, 4, 4, 4, 1))
    predicted = volumes(tmp_path / "predicted", slices=(4, 4, 4, 4, 4, 4, 1), wrong=True)
    found = evaluate_utility(read_masks(predicted), read_masks(truth))
    assert 0.5 < found.figures["clinical"]["dice"].value < 1
    assert found.figures["clinical"]["LV"]["dice"].n == 6
    assert found.figures["paper"]["LV"]["dice"].n == 25
    assert "clinical: 6 of 7 volumes are scored" in " ".join(found.notes)
    assert "patient006 patient006_ED: not scored as a volume: a single slice" in " ".join(found.notes)


def test_predictions_in_another_orientation_score_the_same(tmp_path):
    truth = read_masks(volumes(tmp_path / "truth", slices=(4, 4)))
    scores = [
        evaluate_utility(read_masks(volumes(tmp_path / codes, slices=(4, 4), wrong=True, codes=codes)), truth).figures
        for codes in ("LPS", "RAS", "PLI", "ILA")
    ]
    assert all(one["clinical"]["dice"] == scores[0]["clinical"]["dice"] for one in scores)
    assert scores[0]["clinical"]["dice"].value > 0.8


@pytest.mark.parametrize(("affine", "expected"), [(np.eye(4), "has none"), (np.diag([1.5, 1.5, 8.0, 1.0]), "different places")])
def test_predictions_whose_place_is_not_that_of_the_truth_are_refused(tmp_path, affine, expected):
    truth = read_masks(volumes(tmp_path / "truth", slices=(4,)))
    predicted = read_masks(volumes(tmp_path / "predicted", slices=(4,), affine=affine))
    with pytest.raises(DataError, match=rf"patient000_ED doesn't lie on its namesake.*{expected}.*the truth has"):
        evaluate_utility(predicted, truth)
