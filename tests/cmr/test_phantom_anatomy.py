from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from cmr.labels import LV, MYO, RV
from cmr.phantom.anatomy import ENDO_END, PATHOLOGIES, TAPER, Heart, Outline, Planes, profile, random_heart, slice_heart

PIXEL_MM, STEP_MM = 1.5, 3.0
ROUND = Outline((2,), (0.0,), (0.0,), 0.0)


def heart(pathology: str, seed: int = 0) -> Heart:
    return random_heart(np.random.default_rng(seed), pathology, 0.1)


def round_heart(pathology: str = "NOR", seed: int = 0) -> Heart:
    return replace(heart(pathology, seed), epi=ROUND, endo=ROUND, rv=ROUND, region_size=0.0)


def cut(subject: Heart, phase: str, z: np.ndarray | None = None) -> Planes:
    axis = np.arange(-90, 90, PIXEL_MM, dtype=np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    z = np.arange(-8, subject.length + 8, STEP_MM, dtype=np.float32) if z is None else z
    stack = (len(z), *x.shape)
    return slice_heart(subject, phase, np.broadcast_to(x, stack), np.broadcast_to(y, stack), z)


def volume_ml(label: np.ndarray, structure: int) -> float:
    return float((label == structure).sum()) * PIXEL_MM**2 * STEP_MM / 1000


def ejection(subject: Heart) -> float:
    ed, es = (volume_ml(cut(subject, phase).labels(), LV) for phase in ("ED", "ES"))
    return 1 - es / ed


@pytest.mark.parametrize("phase", ["ED", "ES"])
def test_round_cavity_has_the_volume_of_the_integral(phase):
    subject = round_heart()
    measured = volume_ml(cut(subject, phase).labels(), LV)
    height = ENDO_END * (subject.length - subject.base(phase))
    # The integral of 1 - s^p over [0, 1] is p / (p + 1).
    exact = np.pi * subject.endo_radius(phase) ** 2 * height * TAPER / (TAPER + 1) / 1000
    assert subject.lv_volume_ml(phase) == pytest.approx(exact)
    assert measured == pytest.approx(exact, rel=0.04)


def test_volumes_shrink_by_the_ejection_fraction():
    subject = round_heart()
    assert 1 - subject.lv_volume_ml("ES") / subject.lv_volume_ml("ED") == pytest.approx(subject.ejection, abs=1e-6)
    assert ejection(subject) == pytest.approx(subject.ejection, abs=0.03)


def test_muscle_keeps_its_volume_from_ed_to_es():
    subject = round_heart()

    def muscle(phase: str) -> float:
        shell = subject.epi_radius(phase) ** 2 - subject.endo_radius(phase) ** 2
        return shell * (subject.length - subject.base(phase))

    assert muscle("ES") == pytest.approx(muscle("ED"), rel=1e-6)
    assert subject.epi_radius("ES") - subject.endo_radius("ES") > subject.wall  # the wall thickens


def test_profile_is_one_at_the_base_and_nothing_outside():
    assert profile(np.array([-0.1, 0.0, 1.0, 1.2], np.float32)).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("pathology", ["DCM", "HCM", "MINF"])
def test_sick_sector_keeps_the_area_of_the_cavity(pathology):
    theta = np.linspace(0, 2 * np.pi, 720, endpoint=False).astype(np.float32)
    for phase in ("ED", "ES"):
        factor = heart(pathology).regional(phase, theta)
        assert np.mean(factor**2) == pytest.approx(1, abs=1e-4)
        assert (np.ptp(factor) > 0.02) == (pathology != "DCM")


@pytest.mark.parametrize("pathology", sorted(PATHOLOGIES))
@pytest.mark.parametrize("phase", ["ED", "ES"])
def test_muscle_closes_around_the_cavity_and_touches_the_rv(pathology, phase):
    for seed in range(3):
        subject = heart(pathology, seed)
        middle = (subject.base(phase) + subject.length) / 2
        label = cut(subject, phase, np.array([middle - 6, middle], np.float32)).labels()
        for plane in label:
            ring = ndimage.binary_fill_holes(plane == MYO)
            assert ring[plane == LV].all()
            assert ndimage.label(plane == RV)[1] == 1
            assert (ndimage.binary_dilation(plane == RV, iterations=2) & (plane == MYO)).any()


def test_rv_lies_on_the_left_of_the_picture():
    for seed in range(8):
        plane = cut(heart("NOR", seed), "ED", np.array([25.0], np.float32)).labels()[0]
        assert np.argwhere(plane == RV)[:, 1].mean() < np.argwhere(plane == LV)[:, 1].mean() - 10


def test_papillary_muscles_lie_in_the_labelled_cavity():
    planes = cut(heart("NOR"), "ED", np.array([40.0], np.float32))
    muscle = planes.papillary < 0
    assert muscle.any()
    assert (planes.labels()[muscle] == LV).mean() > 0.9


def test_slices_beyond_the_heart_are_empty_and_the_last_has_muscle_only():
    subject = heart("NOR")
    beyond = cut(subject, "ED", np.array([-12, subject.length + 1], np.float32)).labels()
    assert not beyond.any()
    tip = cut(subject, "ED", np.array([0.96 * subject.length], np.float32)).labels()
    assert set(np.unique(tip)) == {0, MYO}


def test_groups_differ_as_the_diseases_do():
    seeds = range(2)
    volumes = {
        name: np.array([[[volume_ml(cut(heart(name, seed), phase).labels(), structure) for structure in (LV, MYO, RV)]
                         for phase in ("ED", "ES")] for seed in seeds]).mean(0)
        for name in ("NOR", "DCM", "HCM", "MINF", "RV")
    }  # fmt: skip
    ejected = {name: 1 - es[0] / ed[0] for name, (ed, es) in volumes.items()}
    assert ejected["DCM"] < ejected["MINF"] < ejected["NOR"] < ejected["HCM"]
    assert ejected["NOR"] == pytest.approx(PATHOLOGIES["NOR"].ejection, abs=0.06)
    lv, muscle, rv = ({name: both[0][column] for name, both in volumes.items()} for column in range(3))
    assert lv["DCM"] > 1.5 * lv["NOR"]
    assert muscle["HCM"] > 1.4 * muscle["NOR"]
    assert rv["RV"] > 1.2 * rv["NOR"]


def test_hypertrophy_is_septal_and_infarction_thins_its_sector():
    def walls(subject: Heart) -> tuple[float, float]:
        planes = cut(subject, "ED", np.array([30.0], np.float32))
        thickness = planes.endo - planes.epi  # both along the same ray: their difference is the wall
        theta = np.arctan2(planes.v, planes.u)
        near = np.cos(theta - subject.region)
        return float(thickness[near > 0.95].mean()), float(thickness[near < -0.8].mean())

    septal, lateral = walls(replace(heart("HCM"), epi=ROUND, endo=ROUND))
    assert septal > 1.2 * lateral
    scar, remote = walls(replace(heart("MINF"), epi=ROUND, endo=ROUND))
    assert scar < 0.9 * remote
