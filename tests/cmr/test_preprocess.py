import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cmr.errors import DataError
from cmr.grey import usual_grey_values
from cmr.preprocess import (
    N4Settings,
    PreprocessSettings,
    correct_bias,
    preprocess_dataset,
    preprocess_subject,
    read_frames,
    resample,
)
from cmr.subject import Frame, Subject

OFF = PreprocessSettings(N4Settings(shrink=1, iterations=()), workers=1)
N4 = N4Settings(shrink=2, iterations=(50, 50, 50))


def phantom(slices: int, rows: int = 64, columns: int = 72) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc with a dark one inside, and the disc's mask."""
    y, x = np.mgrid[:rows, :columns] - np.array([rows / 2, columns / 2])[:, None, None]
    image = np.where(np.hypot(y, x) < 0.42 * rows, 100.0, 0.0)
    image[np.hypot(y - 4, x + 6) < 0.15 * rows] = 60.0
    volume = np.repeat(image[None], slices, axis=0).astype(np.float32)
    return volume, volume > 0


def coil(shape: tuple[int, int, int], strength: float = 0.5) -> np.ndarray:
    """Log of a smooth coil field."""
    _, rows, columns = shape
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    return np.broadcast_to(strength * (y + 0.5 * x - 0.5 * y * x), shape)


def frame(
    seed: int = 0, shape: tuple[int, int, int] = (3, 24, 20), voxel_mm: tuple[float, float, float] = (8, 1.5, 1.5)
) -> Frame:
    rng = np.random.default_rng(seed)
    return Frame("ED", rng.uniform(0, 255, shape).astype(np.float32), rng.integers(0, 4, shape, dtype=np.uint8), voxel_mm)


def frames(seed: int) -> list[Frame]:
    return [frame(seed), replace(frame(seed + 1000), phase="ES")]


def broken() -> list[Frame]:
    raise RuntimeError("unreadable")


def killed() -> list[Frame]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def subject(name: str, source: Callable[[], list[Frame]]) -> Subject:
    return Subject(name, "acdc", "training", "A", "1", "NOR", source)


def subjects(*seeds: int) -> list[Subject]:
    return [subject(f"patient{number:03}", partial(frames, seed)) for number, seed in enumerate(seeds)]


# --- N4


@pytest.mark.parametrize("slices", [1, 2, 3, 6])
def test_a_known_bias_field_is_removed(slices: int) -> None:
    clean, disc = phantom(slices)
    log_field = coil(clean.shape)
    corrected = correct_bias((clean * np.exp(log_field)).astype(np.float32), (8.0, 1.5, 1.5), N4)
    assert corrected.dtype == np.float32
    left = np.log(corrected[disc] / clean[disc])
    assert log_field[disc].std() > 0.2
    assert left.std() < 0.015


def test_without_a_bias_nothing_much_changes() -> None:
    clean, disc = phantom(4)
    left = np.log(correct_bias(clean, (8.0, 1.5, 1.5), N4)[disc] / clean[disc])
    assert left.std() < 0.01


def test_shrinking_finds_the_same_field() -> None:
    clean, disc = phantom(3, 96, 104)
    image = (clean * np.exp(coil(clean.shape, 0.3))).astype(np.float32)
    fields = [np.log(image[disc] / correct_bias(image, (8, 1, 1), N4Settings(shrink, (20, 20)))[disc]) for shrink in (1, 4)]
    assert np.std(fields[0]) > 0.1
    assert np.std(fields[0] - fields[1]) < 0.02


def test_negative_and_zero_intensities_and_odd_shapes_stay_finite() -> None:
    clean, _ = phantom(3, 37, 61)
    image = clean - 5
    image[0] = 0
    assert np.isfinite(correct_bias(image.astype(np.float32), (10, 0.7, 1.9), N4Settings(4, (10, 10)))).all()
    assert np.isfinite(correct_bias(frame(shape=(2, 5, 9)).image, (10, 1, 1), N4Settings(4, (10,)))).all()


def test_an_image_without_foreground_comes_back_as_it_is() -> None:
    for value in (0.0, -3.0, 7.0):
        image = np.full((3, 16, 16), value, np.float32)
        np.testing.assert_allclose(correct_bias(image, (8, 1, 1), N4), image, rtol=1e-3)


def test_the_same_image_gives_the_same_bits() -> None:
    clean, _ = phantom(3)
    image = (clean * np.exp(coil(clean.shape))).astype(np.float32)
    np.testing.assert_array_equal(correct_bias(image, (8, 1, 1), N4), correct_bias(image, (8, 1, 1), N4))


# --- resampling

GRIDS = [((20, 30), (1.5, 1.5), 1.25), ((25, 17), (0.7, 1.9), 1.25), ((40, 40), (1.25, 1.25), 2.5), ((16, 16), (2.0, 2.0), 0.9)]


def centres(size: int, spacing: float, new_size: int, new_spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions in mm of the old and new pixel centres about the middle of the field of view."""
    return (np.arange(size) - (size - 1) / 2) * spacing, (np.arange(new_size) - (new_size - 1) / 2) * new_spacing


@pytest.mark.parametrize(("shape", "pixel", "spacing"), GRIDS)
def test_a_linear_ramp_stays_that_ramp(shape: tuple[int, int], pixel: tuple[float, float], spacing: float) -> None:
    new_shape = [round(n * p / spacing) for n, p in zip(shape, pixel, strict=True)]
    (y, new_y), (x, new_x) = (centres(n, p, m, spacing) for n, p, m in zip(shape, pixel, new_shape, strict=True))
    ramp = (10 + 2 * y[:, None] - 3 * x[None, :]).astype(np.float32)
    result = resample(np.stack([ramp, -ramp]), (8.0, *pixel), spacing, nearest=False)
    assert list(result.shape) == [2, *new_shape]
    rows, columns = abs(new_y) <= y[-1], abs(new_x) <= x[-1]  # the outermost half pixel repeats the edge
    expected = 10 + 2 * new_y[rows][:, None] - 3 * new_x[columns][None, :]
    np.testing.assert_allclose(result[0][np.ix_(rows, columns)], expected, atol=1e-3)
    np.testing.assert_allclose(result[1], -result[0], atol=1e-4)
    assert abs(np.array(new_shape) * spacing - np.array(shape) * pixel).max() <= spacing / 2 + 1e-9


@pytest.mark.parametrize(("shape", "pixel", "spacing"), GRIDS)
def test_a_spot_keeps_its_place_and_no_pixel_falls_outside(
    shape: tuple[int, int], pixel: tuple[float, float], spacing: float
) -> None:
    new_shape = [round(n * p / spacing) for n, p in zip(shape, pixel, strict=True)]
    (y, new_y), (x, new_x) = (centres(n, p, m, spacing) for n, p, m in zip(shape, pixel, new_shape, strict=True))
    spot = np.exp(-((y[:, None] - 1) ** 2 + (x[None, :] + 2) ** 2) / (2 * 2.5**2)).astype(np.float32)
    result = resample(spot[None], (8.0, *pixel), spacing, nearest=False)[0]
    for image, rows, columns in ((spot, y, x), (result, new_y, new_x)):
        assert (image * rows[:, None]).sum() / image.sum() == pytest.approx(1, abs=0.05)
        assert (image * columns[None, :]).sum() / image.sum() == pytest.approx(-2, abs=0.05)
    assert resample(np.ones((1, *shape), np.float32), (8.0, *pixel), spacing, nearest=False).min() == 1


@pytest.mark.parametrize(("shape", "pixel", "spacing"), GRIDS)
def test_labels_stay_labels_of_the_same_area(shape: tuple[int, int], pixel: tuple[float, float], spacing: float) -> None:
    y, x = (centres(n, p, n, p)[0] for n, p in zip(shape, pixel, strict=True))
    label = np.where(np.hypot(y[:, None], x[None, :]) < 7, 3, 1).astype(np.uint8)[None]
    result = resample(label, (8.0, *pixel), spacing, nearest=True)
    assert result.dtype == np.uint8
    assert set(np.unique(result)) == {1, 3}
    assert (result == 3).sum() * spacing**2 == pytest.approx((label == 3).sum() * np.prod(pixel), rel=0.12)


def test_the_same_spacing_changes_nothing() -> None:
    volume = frame().image
    np.testing.assert_array_equal(resample(volume, (8, 1.5, 1.5), 1.5, nearest=False), volume)


def test_a_subject_keeps_phases_and_slice_spacing() -> None:
    result = preprocess_subject(subjects(0)[0], OFF, 2.0)
    assert [each.phase for each in result] == ["ED", "ES"]
    assert all(each.voxel_mm == (8, 2.0, 2.0) for each in result)
    assert all(each.image.shape == each.label.shape == (3, 18, 15) for each in result)


# --- cache


def run(tmp_path: Path, who: list[Subject], settings: PreprocessSettings = OFF, spacing_mm: float = 2.0) -> tuple[int, int]:
    summary = preprocess_dataset(who, settings, spacing_mm, out=tmp_path / "out", cache=tmp_path / "cache")
    return summary.processed, summary.cached


def test_only_what_is_new_is_computed(tmp_path: Path) -> None:
    assert run(tmp_path, subjects(1, 2, 3), replace(OFF, workers=0)) == (3, 0)
    first = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert sorted(first) == ["patient000.npz", "patient001.npz", "patient002.npz"]
    assert run(tmp_path, subjects(1, 2, 3)) == (0, 3)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == first
    assert run(tmp_path, subjects(1, 7, 3, 4)) == (2, 2)  # one changed, one added
    assert run(tmp_path, subjects(1, 2)) == (0, 2)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["patient000.npz", "patient001.npz"]
    result, expected = read_frames(tmp_path / "out/patient001.npz"), preprocess_subject(subjects(1, 2)[1], OFF, 2.0)
    for one, other in zip(result, expected, strict=True):
        assert (one.phase, one.voxel_mm) == (other.phase, other.voxel_mm)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)


def test_another_may_share_the_subjects_out_in_any_order(tmp_path: Path) -> None:
    run(tmp_path, subjects(1, 2, 3))
    expected = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    summary = preprocess_dataset(
        subjects(1, 2, 3),
        OFF,
        2.0,
        out=tmp_path / "again",
        cache=tmp_path / "empty",
        each=lambda preprocess, who: [preprocess(one) for one in reversed(who)],
    )
    assert (summary.processed, summary.cached) == (3, 0)
    assert {file.name: file.read_bytes() for file in (tmp_path / "again").iterdir()} == expected


def test_settings_are_part_of_the_key_and_workers_are_not(tmp_path: Path) -> None:
    assert run(tmp_path, subjects(1)) == (1, 0)
    assert run(tmp_path, subjects(1), replace(OFF, n4=N4Settings(1, (2,)))) == (1, 0)
    assert run(tmp_path, subjects(1), OFF, 1.0) == (1, 0)
    assert run(tmp_path, subjects(1), replace(OFF, workers=2)) == (0, 1)


def test_labels_and_voxel_size_are_part_of_the_key(tmp_path: Path) -> None:
    original = frame()
    for changed in (original, replace(original, label=3 - original.label), replace(original, voxel_mm=(9, 1.5, 1.5))):
        assert run(tmp_path, [subject("p", partial(list, [changed]))]) == (1, 0)


def test_an_interrupted_run_resumes_and_the_error_names_the_subject(tmp_path: Path) -> None:
    run(tmp_path, subjects(9))
    good = subjects(1, 2)
    with pytest.raises(RuntimeError, match="unreadable") as error:
        run(tmp_path, [*good, subject("patient777", broken)])
    assert error.value.__notes__ == ["while preprocessing subject patient777"]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["patient000.npz"]  # of the run before
    assert run(tmp_path, [*good, *subjects(1, 2, 3)[2:]]) == (1, 2)


def test_a_killed_worker_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"memory ran out; lower `preprocess\.workers`"):
        run(tmp_path, [subject("p", killed)])


def test_a_damaged_cache_file_is_made_again(tmp_path: Path) -> None:
    run(tmp_path, subjects(1))
    (kept,) = (tmp_path / "cache").iterdir()
    whole = kept.read_bytes()
    middle = len(whole) // 2
    for damaged in (whole[:-100], b"", whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]):
        kept.unlink()
        kept.write_bytes(damaged)
        assert run(tmp_path, subjects(1)) == (1, 0)
        assert kept.read_bytes() == whole
    assert (tmp_path / "out/patient000.npz").read_bytes() == whole


def test_the_files_carry_no_time(tmp_path: Path) -> None:
    run(tmp_path, subjects(1))
    first = (tmp_path / "out/patient000.npz").read_bytes()
    (kept,) = (tmp_path / "cache").iterdir()
    kept.unlink()
    time.sleep(2.1)  # archives count in steps of two seconds
    assert run(tmp_path, subjects(1)) == (1, 0)
    assert (tmp_path / "out/patient000.npz").read_bytes() == first


def test_unreadable_frames_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.npz"):
        read_frames(tmp_path / "absent.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match=r"cut\.npz"):
        read_frames(tmp_path / "cut.npz")


def seen() -> np.ndarray:
    """(4, 64, 72) a disc under a coil field with some noise, as a scanner writes it: 0 to about 300."""
    volume, _ = phantom(4)
    noise = np.random.default_rng(3).normal(0, 2, volume.shape)
    return np.rint((volume * 2 * np.exp(coil(volume.shape)) + noise).clip(0)).astype(np.float32)


def scaled(image: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image, (1, 99))
    return np.clip((image - low) / (high - low), 0, 1)


def hot(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    image[1, 3, 3] = 65535
    return image


def cold(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    image[1, 3, 3] = -32768
    return image


def wrapped(image: np.ndarray) -> np.ndarray:
    """Ringing below zero cast to uint16."""
    image = image.copy()
    dark = (image < 1) & (np.random.default_rng(0).random(image.shape) < 0.01)
    image[dark] = 65535
    return image


UNITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "0 to 1": lambda image: image / image.max(),
    "a million": lambda image: image * 1e6,
    "a millionth": lambda image: image * 1e-6,
    "minus 1000": lambda image: image - 1000,
    "z-score": lambda image: (image - image.mean()) / image.std(),
    "hot pixel": hot,
    "cold pixel": cold,
    "wrapped uint16": wrapped,
}


@pytest.mark.parametrize("unit", UNITS)
def test_the_same_scan_in_other_units_gives_the_same_slices(unit: str) -> None:
    def run(image: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        labelled = Frame("ED", image.astype(np.float32), np.ones(image.shape, np.uint8), (8.0, 1.5, 1.5))
        subject = Subject("s", "d", "training", "v", "c", "p", lambda: [labelled])
        [done] = preprocess_subject(subject, PreprocessSettings(N4Settings(2, (20, 20)), workers=1), 2.5)
        return scaled(done.image), done.notes

    plain, notes = run(seen())
    assert notes == ()
    other, notes = run(UNITS[unit](seen()))
    assert (np.abs(other - plain) > 2e-3).mean() < 0.003
    assert bool(notes) == (unit not in ("0 to 1", "a million", "a millionth"))


def test_an_ordinary_image_is_not_touched() -> None:
    image = seen()
    image[0, 5, 5] = 14 * image.max()  # as bright as the brightest vessel of a real scan
    same, notes = usual_grey_values(image)
    assert same is image
    assert notes == []


def test_a_field_that_n4_does_not_find_is_told_also_from_the_cache(tmp_path: Path) -> None:
    """One grey value everywhere but in one pixel."""
    image = np.full((3, 64, 72), 100, np.float32)
    image[1, 10, 10] = 20000
    odd = Subject(
        "odd",
        "d",
        "training",
        "v",
        "c",
        "p",
        partial(list, [Frame("ED", image, (image > 0).astype(np.uint8), (8.0, 1.5, 1.5))]),
    )
    settings = PreprocessSettings(N4Settings(4, (20, 20)), workers=1)
    told = [preprocess_dataset([odd], settings, 2.5, out=tmp_path / "out", cache=tmp_path / "cache").notes for _ in range(2)]
    assert told[0] == told[1] != ()
    assert told[0][0].startswith("odd ED: N4 found no coil field")
