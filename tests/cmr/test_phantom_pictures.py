import numpy as np
import pytest

from cmr.errors import DataError
from cmr.labels import LV, MYO, RV
from cmr.phantom.acquisition import SCANNERS, acquire, coil_sensitivity, random_acquisition, smooth_field
from cmr.phantom.contrast import cover, ellipse, paint
from cmr.phantom.patient import PhantomPatient, PhantomSettings, make_patient

SETTINGS = PhantomSettings(slices=6, matrix=64)


def patient(scanner: str = "A", pathology: str = "NOR", seed: int = 0) -> PhantomPatient:
    return make_patient(np.random.SeedSequence(seed), scanner=scanner, pathology=pathology, settings=SETTINGS)


def test_cover_is_the_area_of_a_disc():
    axis = np.arange(-40, 40, 2.0, dtype=np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    disc = cover(ellipse(x, y, (3.0, -5.0), (20, 20)), 2.0)
    assert disc.sum() * 4 == pytest.approx(np.pi * 400, rel=0.01)
    assert ((disc > 0) & (disc < 1)).any()  # partial volume at the edge


def test_paint_replaces_inside_and_leaves_outside():
    picture = np.array([1.0, 1.0, 1.0], np.float32)
    paint(picture, np.array([-5.0, 0.0, 5.0], np.float32), 3.0, 1.0)
    assert picture.tolist() == [3.0, 2.0, 1.0]


def test_air_is_rayleigh_and_blood_nearly_gaussian():
    plan = random_acquisition(np.random.default_rng(0), SCANNERS["C"], 85.0, 8, 96)
    shape = (4, 100, 100)
    flat = np.ones(shape[1:], np.float32)
    sigma = plan.noise * plan.units
    air = acquire(np.random.default_rng(1), np.zeros(shape, np.float32), flat, plan)
    assert air.min() >= 0
    assert air.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.02)
    assert air.std() == pytest.approx(sigma * np.sqrt(2 - np.pi / 2), rel=0.02)
    blood = acquire(np.random.default_rng(1), np.ones(shape, np.float32), flat, plan)
    assert blood.mean() == pytest.approx(np.hypot(plan.units, sigma / np.sqrt(2)), rel=0.01)
    assert blood.std() == pytest.approx(sigma, rel=0.03)


def test_smooth_field_is_standardised_and_smooth():
    rough, smooth = (smooth_field(np.random.default_rng(0), (4, 64, 64), (0.5, sigma, sigma)) for sigma in (0.5, 6.0))
    for field in (rough, smooth):
        assert field.mean() == pytest.approx(0, abs=1e-5)
        assert field.std() == pytest.approx(1, abs=1e-5)
    assert np.abs(np.diff(smooth, axis=2)).mean() < 0.25 * np.abs(np.diff(rough, axis=2)).mean()


def test_coil_is_smooth_positive_and_as_uneven_as_the_scanner_says():
    axis = np.linspace(-120, 120, 64, dtype=np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    for scanner in SCANNERS.values():
        field = coil_sensitivity(np.random.default_rng(0), scanner, x, y)
        assert field.min() > 0
        assert np.ptp(np.log(field)) == pytest.approx(2 * scanner.coil, rel=1e-3)


@pytest.mark.parametrize("slices", [3, 6, 10, 16])
def test_the_stack_covers_the_ventricles(slices):
    for seed in range(10):
        plan = random_acquisition(np.random.default_rng(seed), SCANNERS["A"], 90.0, slices, 96)
        last = plan.first_z + plan.spacing_mm * (slices - 1)
        assert plan.first_z < plan.spacing_mm
        assert last > 90.0 - plan.spacing_mm
        assert plan.pixel_mm * 96 >= 200


@pytest.mark.parametrize("scanner", sorted(SCANNERS))
def test_blood_is_bright_and_muscle_dark_at_every_vendor(scanner):
    subject = patient(scanner)
    for image, label in zip(subject.images, subject.labels, strict=True):
        assert image.dtype == np.int16
        assert image.shape == label.shape == (6, 64, 64)
        assert {LV, MYO, RV} <= set(np.unique(label))
        assert image[label == LV].mean() > 1.5 * image[label == MYO].mean()
        assert image[label == RV].mean() > 1.3 * image[label == MYO].mean()


def test_the_heart_is_whole_and_near_the_middle():
    for seed in range(6):
        subject = patient(pathology="DCM", seed=seed)
        rows, columns = np.nonzero(subject.labels[0].any(0))
        assert min(rows.min(), columns.min()) > 2
        assert max(rows.max(), columns.max()) < 61


def test_vendors_differ_in_contrast_noise_and_units():
    people = {vendor: patient(vendor) for vendor in "ABCD"}

    def muscle_to_blood(subject: PhantomPatient) -> float:
        image, label = subject.images[0][2], subject.labels[0][2]
        return float(np.median(image[label == MYO]) / np.median(image[label == LV]))

    assert muscle_to_blood(people["D"]) > muscle_to_blood(people["A"]) + 0.05
    assert people["D"].images[0].max() > 3 * people["A"].images[0].max()
    air = {vendor: subject.plan.noise for vendor, subject in people.items()}
    assert air["C"] > air["A"]
    assert len({subject.voxel_mm for subject in people.values()}) == 4


def test_a_patient_is_decided_by_the_seed():
    first, again, other = patient(seed=5), patient(seed=5), patient(seed=6)
    np.testing.assert_array_equal(first.images, again.images)
    assert first.heart == again.heart
    assert not np.array_equal(first.images, other.images)


@pytest.mark.parametrize(("slices", "matrix", "named"), [(2, 96, "slices"), (8, 32, "matrix")])
def test_too_small_a_scan_is_refused(slices, matrix, named):
    with pytest.raises(DataError, match=f"phantom.{named}"):
        PhantomSettings(slices=slices, matrix=matrix)
