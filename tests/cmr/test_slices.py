import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmr.errors import DataError
from cmr.preprocess import N4Settings, PreprocessSettings, preprocess_dataset
from cmr.slices import SliceSettings, SliceSummary, crop, cut_slices, heart_window, scale, training_masks
from cmr.store import REAL_COLUMNS, SliceStore
from cmr.subject import Frame, Subject

SETTINGS = SliceSettings(size=16, field_of_view_mm=32.0, low_percentile=1.0, high_percentile=99.0, minimum_range=0.1)
VOXEL = (8.0, 2.0, 2.0)


def box(shape: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    heart = np.zeros(shape, bool)
    heart[rows, columns] = True
    return heart


class Source:
    """Frames held in memory, as a picklable ``Subject.frames``."""

    def __init__(self, *frames: Frame):
        self.frames = list(frames)

    def __call__(self) -> list[Frame]:
        return self.frames


def volume(boxes: list[tuple[slice, slice] | None], shape: tuple[int, int] = (30, 40), flat: tuple[int, ...] = ()) -> Frame:
    """A frame of noise whose slice ``s`` has a heart of LV with one MYO pixel in ``boxes[s]``."""
    image = np.random.default_rng(0).uniform(10, 200, (len(boxes), *shape)).astype(np.float32)
    label = np.zeros(image.shape, np.uint8)
    for number, place in enumerate(boxes):
        if place:
            label[number][place] = 1
            label[number][place[0].start, place[1].start] = 2
    for number in flat:
        image[number] = 100
    return Frame("ED", image, label, VOXEL)


def cut(
    tmp_path: Path, splits: dict[str, str], settings: SliceSettings = SETTINGS, **frames: Frame
) -> tuple[SliceStore, SliceSummary]:
    subjects = [Subject(name, "acdc", "training", "A", "1", "NOR", Source(frame)) for name, frame in frames.items()]
    off = PreprocessSettings(N4Settings(1, ()), workers=1)
    preprocess_dataset(subjects, off, settings.spacing_mm, out=tmp_path / "frames", cache=tmp_path / "cache")
    summary = cut_slices(tmp_path / "frames", manifest(*frames), splits, settings, tmp_path / "store")
    return SliceStore.open(tmp_path / "store"), summary


def manifest(*subjects: str, **columns: Any) -> pd.DataFrame:
    about = {"dataset": "acdc", "vendor": "A", "centre": "1", "pathology": "NOR", "duplicate_of": "", **columns}
    return pd.DataFrame([{"subject": subject, "phase": phase, **about} for subject in subjects for phase in ("ED", "ES")])


HEART = (slice(8, 14), slice(20, 30))


# --- window


def test_the_window_is_centred_on_the_box() -> None:
    assert heart_window(box((40, 50), slice(10, 20), slice(30, 34)), 16) == (7, 24, True)
    assert heart_window(box((40, 50), slice(0, 2), slice(48, 50)), 16) == (-7, 41, True)
    assert heart_window(np.zeros((40, 50), bool), 16) == (12, 17, True)


def test_a_heart_as_large_as_the_window_fits_and_a_larger_one_does_not() -> None:
    assert heart_window(box((40, 50), slice(3, 19), slice(5, 21)), 16) == (3, 5, True)
    assert heart_window(box((40, 50), slice(3, 20), slice(5, 21)), 16)[2] is False


@given(st.data())
def test_any_heart_that_is_no_larger_than_the_window_is_kept_whole_and_centred(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 24), label="size")
    shape, places = [], []
    for _ in range(2):
        length = data.draw(st.integers(1, 40))
        low = data.draw(st.integers(0, length - 1))
        shape.append(length)
        places.append(slice(low, data.draw(st.integers(low + 1, min(length, low + size)))))
    heart = box((shape[0], shape[1]), *places)
    row, column, fits = heart_window(heart, size)
    window = crop(heart, row, column, size, False)
    assert fits
    assert window.sum() == heart.sum()
    margins = [np.flatnonzero(window.any(axis=axis)) for axis in (1, 0)]
    assert all(abs(margin[0] - (size - 1 - margin[-1])) <= 1 for margin in margins)


@given(*[st.integers(1, 20)] * 3, *[st.integers(-25, 45)] * 2)
def test_a_window_is_the_plane_seen_through_it_and_the_fill_beyond(
    rows: int, columns: int, size: int, row: int, column: int
) -> None:
    plane = np.arange(rows * columns, dtype=np.float64).reshape(rows, columns)
    canvas = np.full((rows + 200, columns + 200), -1.0)
    canvas[100 : 100 + rows, 100 : 100 + columns] = plane
    window = crop(plane, row, column, size, -1.0)
    np.testing.assert_array_equal(window, canvas[100 + row :, 100 + column :][:size, :size])


# --- scaling


def test_percentiles_of_a_ramp() -> None:
    ramp = np.arange(101 * 101, dtype=np.float32).reshape(1, 101, 101)
    low, high = 0.01 * (101 * 101 - 1), 0.99 * (101 * 101 - 1)
    expected = np.clip(2 * (ramp - low) / (high - low) - 1, -1, 1)
    np.testing.assert_allclose(scale(ramp, (1, 99)).astype(np.float32), expected, atol=1e-3)
    assert (scale(ramp, (1, 99)) == -1).sum() == pytest.approx(0.01 * ramp.size, abs=3)  # float16 rounds a few more to -1


def test_every_slice_has_its_own_scale_and_a_constant_one_is_dark() -> None:
    rng = np.random.default_rng(3)
    windows = np.stack([rng.uniform(-5, 5, (8, 8)), rng.uniform(1e3, 9e3, (8, 8)), np.full((8, 8), 7.0)]).astype(np.float32)
    scaled = scale(windows, (1, 99))
    assert scaled.dtype == np.float16
    assert [(float(each.min()), float(each.max())) for each in scaled] == [(-1, 1), (-1, 1), (-1, -1)]
    np.testing.assert_allclose(scaled, scale(windows * 3 + 11, (1, 99)), atol=1e-3)


# --- whole stage


def test_training_rows_are_the_labelled_slices_each_with_its_own_window(tmp_path: Path) -> None:
    other = (slice(20, 24), slice(2, 6))
    frame = volume([None, HEART, other, None])
    store, summary = cut(tmp_path, {"p": "train"}, p=frame)
    assert summary == SliceSummary(rows=2, dropped_unlabelled=2, dropped_flat=0, cut_hearts=0)
    assert list(store.index.columns) == list(REAL_COLUMNS)
    assert store.index["slice"].tolist() == [1, 2]
    assert store.index[["crop_row", "crop_column"]].to_numpy().tolist() == [[3, 17], [14, -4]]
    assert store.index[["slice_mm", "row_mm", "column_mm"]].iloc[0].tolist() == [8, 2, 2]
    assert store.index["labelled"].all()
    assert (store.masks > 0).sum(axis=(1, 2)).tolist() == [60, 16]
    for row, image, mask in zip(store.index.itertuples(), store.images, store.masks, strict=True):
        plane, label = frame.image[row.slice], frame.label[row.slice]
        window = crop(plane, row.crop_row, row.crop_column, 16, plane.min())
        np.testing.assert_array_equal(image, scale(window[None], (1, 99))[0])
        np.testing.assert_array_equal(mask, crop(label, row.crop_row, row.crop_column, 16, 0))


def test_test_rows_are_whole_volumes_in_one_window(tmp_path: Path) -> None:
    frame = volume([None, HEART, (slice(10, 18), slice(24, 34)), None], flat=(1, 3))
    store, summary = cut(tmp_path, {"p": "test"}, p=frame)
    assert summary == SliceSummary(rows=4, dropped_unlabelled=0, dropped_flat=0, cut_hearts=0)
    assert store.index["labelled"].tolist() == [False, True, True, False]
    assert store.index[["crop_row", "crop_column"]].drop_duplicates().to_numpy().tolist() == [[5, 19]]
    assert (store.masks > 0).sum() == (frame.label > 0).sum()
    assert (store.images[3] == -1).all()


def test_a_slice_with_next_to_no_range_is_left_out_of_training_only(tmp_path: Path) -> None:
    frame = volume([HEART, HEART, HEART], flat=(1,))
    frame.image[2] = 100 + frame.image[2] / 20  # a twentieth of the range
    store, summary = cut(tmp_path, {"p": "train", "q": "holdout", "r": "val", "s": "test"}, p=frame, q=frame, r=frame, s=frame)
    assert summary == SliceSummary(rows=6, dropped_unlabelled=0, dropped_flat=6, cut_hearts=0)
    assert store.index.groupby("split", sort=False)["slice"].apply(list).to_dict() == {
        "train": [0], "holdout": [0], "val": [0], "test": [0, 1, 2]
    }  # fmt: skip
    assert len(training_masks(store)) == 1
    assert training_masks(store).images is None


def test_a_heart_larger_than_the_window_is_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        _, summary = cut(tmp_path, {"p": "train"}, p=volume([HEART, (slice(0, 20), slice(0, 10))]))
    assert summary.cut_hearts == 1
    assert "p ED: the heart is larger than the window of 32 mm in 1 slices" in caplog.text


def test_duplicates_are_left_out(tmp_path: Path) -> None:
    cut(tmp_path, {"p": "train", "q": "train"}, p=volume([HEART]), q=volume([HEART]))
    table = manifest("p", "q").assign(duplicate_of=["", "", "p", "p"])
    assert cut_slices(tmp_path / "frames", table, {"p": "train"}, SETTINGS, tmp_path / "store").rows == 1


def test_the_field_of_view_does_not_depend_on_the_size(tmp_path: Path) -> None:
    small = SliceSettings(8, 32.0, 1, 99, 0.1)
    assert (SETTINGS.spacing_mm, small.spacing_mm) == (2.0, 4.0)
    store, _ = cut(tmp_path, {"p": "train"}, small, p=volume([HEART]))
    assert store.size == 8
    assert (store.masks > 0).sum() * 4.0**2 == pytest.approx(60 * 2.0**2, rel=0.2)


def test_faults_say_what_to_do(tmp_path: Path) -> None:
    cut(tmp_path, {"p": "train"}, p=volume([HEART]))
    arguments = (tmp_path / "frames", manifest("p"))
    with pytest.raises(DataError, match="p: in the manifest but in no split"):
        cut_slices(*arguments, {}, SETTINGS, tmp_path / "out")
    with pytest.raises(DataError, match=r"p\.npz: pixels of 2 mm, expected 4 mm"):
        cut_slices(*arguments, {"p": "train"}, SliceSettings(8, 32.0, 1, 99, 0.1), tmp_path / "out")
    with pytest.raises(DataError, match=r"q\.npz: not a readable file"):
        cut_slices(tmp_path / "frames", manifest("q"), {"q": "train"}, SETTINGS, tmp_path / "out")
    with pytest.raises(DataError, match="no slice of 1 subjects"):
        cut(tmp_path, {"p": "train"}, p=volume([None]))
    with pytest.raises(ValueError, match="low_percentile"):
        SliceSettings(8, 32.0, 99, 1, 0.1)
    with pytest.raises(ValueError, match="positive"):
        SliceSettings(0, 32.0, 1, 99, 0.1)
    assert not (tmp_path / "out").exists()
