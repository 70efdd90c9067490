import errno
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import cmr.store
from cmr.errors import DataError
from cmr.store import SliceStore, concatenate

N, S = 6, 8


def content(seed: int = 0, rows: int = N) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    index = pd.DataFrame(
        {
            "subject": [f"patient{number // 2:03}" for number in range(rows)],
            "slice": np.arange(rows),
            "slice_mm": np.full(rows, 10.0 / 3),
            "labelled": np.arange(rows) % 2 == 0,
        }
    )
    masks = rng.integers(0, 4, (rows, S, S), dtype=np.uint8)
    return {"index": index, "masks": masks, "images": rng.uniform(-1, 1, (rows, S, S)).astype(np.float16)}


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_what_was_written_is_what_is_read(tmp_path: Path) -> None:
    data = content()
    SliceStore.write(tmp_path / "set", **data)
    store = SliceStore.open(tmp_path / "set")
    assert len(store) == N
    assert store.size == S
    assert isinstance(store.images, np.memmap)
    assert isinstance(store.masks, np.memmap)
    assert not store.images.flags.writeable
    np.testing.assert_array_equal(store.images, data["images"])
    np.testing.assert_array_equal(store.masks, data["masks"])
    pd.testing.assert_frame_equal(store.index, data["index"])
    assert sorted(files(tmp_path / "set")) == ["images.npy", "index.parquet", "masks.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "set/masks.npy"), data["masks"])


@st.composite
def stores(draw: st.DrawFn, size: int | None = None) -> SliceStore:
    """Any valid store in memory, the empty one too."""
    count, side = draw(st.integers(0, 5)), size or draw(st.integers(1, 6))
    masks = draw(arrays.arrays(np.uint8, (count, side, side), elements=st.integers(0, 3)))
    images = draw(arrays.arrays(np.float16, (count, side, side), elements=st.floats(-1, 1, width=16)))
    subjects = draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=5), min_size=count, max_size=count))
    spacings = draw(st.lists(st.floats(0.5, 20), min_size=count, max_size=count))
    index = pd.DataFrame({"subject": pd.Series(subjects, dtype="str"), "slice_mm": pd.Series(spacings, dtype=np.float64)})
    return SliceStore(masks, index, images)


@given(stores())
@settings(max_examples=40, deadline=None)
def test_any_store_comes_back_from_disk_as_it_was(store: SliceStore) -> None:
    with tempfile.TemporaryDirectory() as folder:
        back = SliceStore.write(Path(folder) / "set", store.index, store.masks, store.images)
        assert back.digest() == store.digest()
        np.testing.assert_array_equal(back.images, store.images)
        np.testing.assert_array_equal(back.masks, store.masks)
        pd.testing.assert_frame_equal(back.index, store.index)


@given(stores(size=3), stores(size=3), st.data())
@settings(deadline=None)
def test_choosing_from_joined_stores_is_joining_what_is_chosen(one: SliceStore, other: SliceStore, data: st.DataObject) -> None:
    chosen = [data.draw(arrays.arrays(bool, len(store))) for store in (one, other)]
    joined = concatenate([one, other]).select(np.concatenate(chosen))
    parts = concatenate([store.select(rows) for store, rows in zip((one, other), chosen, strict=True)])
    assert joined.digest() == parts.digest()


def test_mask_only_and_empty_stores(tmp_path: Path) -> None:
    data = content()
    assert SliceStore.write(tmp_path / "masks", data["index"], data["masks"]).images is None
    assert sorted(files(tmp_path / "masks")) == ["index.parquet", "masks.npy"]
    empty = SliceStore.write(tmp_path / "empty", **content(rows=0))
    assert len(empty) == 0
    assert empty.size == S


def test_same_content_gives_the_same_bytes_whenever_it_is_written(tmp_path: Path) -> None:
    SliceStore.write(tmp_path / "a", **content())
    time.sleep(1.1)  # a time stamp within the files would show
    SliceStore.write(tmp_path / "b", **content())
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_blocks_do_not_change_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SliceStore.write(tmp_path / "a", **content())
    digest = whole.digest()
    monkeypatch.setattr(cmr.store, "_BLOCK_BYTES", 3 * S * S)
    assert SliceStore.write(tmp_path / "b", **content()).digest() == digest
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_digest_is_of_the_content_only(tmp_path: Path) -> None:
    data = content()
    digest = SliceStore.write(tmp_path / "a", **data).digest()
    assert SliceStore(**data).digest() == digest
    data["index"].to_parquet(tmp_path / "a/index.parquet", compression="gzip")  # other bytes, the same table
    assert SliceStore.open(tmp_path / "a").digest() == digest


@pytest.mark.parametrize("part", ["index", "masks", "images", "no images", "order"])
def test_digest_sees_every_part(part: str) -> None:
    data = content()
    before = SliceStore(**data).digest()
    if part == "index":
        data["index"].loc[3, "subject"] = "another"
    elif part == "masks":
        data["masks"][-1, -1, -1] ^= 1
    elif part == "images":
        data["images"][0, 0, 0] = -data["images"][0, 0, 0]
    elif part == "no images":
        data["images"] = None
    else:
        data = {name: value[::-1] for name, value in data.items()}
    assert SliceStore(**data).digest() != before


def test_select_takes_booleans_numbers_and_series(tmp_path: Path) -> None:
    data = content()
    store = SliceStore.write(tmp_path / "set", **data)
    for rows in (data["index"]["labelled"], data["index"]["labelled"].to_numpy(), np.array([0, 2, 4])):
        chosen = store.select(rows)
        np.testing.assert_array_equal(chosen.masks, data["masks"][[0, 2, 4]])
        np.testing.assert_array_equal(chosen.images, data["images"][[0, 2, 4]])
        assert chosen.index["slice"].tolist() == [0, 2, 4]
        assert chosen.index.index.tolist() == [0, 1, 2]
    assert store.select(np.array([4, 1, 4])).index["slice"].tolist() == [4, 1, 4]
    assert len(store.select(np.array([]))) == 0
    with pytest.raises(ValueError, match="5 booleans"):
        store.select(np.ones(5, bool))


def test_concatenate_keeps_rows_and_order() -> None:
    a, b = SliceStore(**content(0)), SliceStore(**content(1))
    both = concatenate([a, b])
    np.testing.assert_array_equal(both.masks, np.concatenate([a.masks, b.masks]))
    assert both.images is not None
    assert both.index.index.tolist() == list(range(2 * N))
    assert both.select(np.arange(N, 2 * N)).digest() == b.digest()


def test_concatenate_refuses_what_does_not_fit() -> None:
    data = content()
    store = SliceStore(**data)
    with pytest.raises(DataError, match="only masks"):
        concatenate([store, SliceStore(data["masks"], data["index"])])
    with pytest.raises(DataError, match=r"sizes \[4, 8\]"):
        concatenate([store, SliceStore(data["masks"][:, :4, :4], data["index"])])
    with pytest.raises(DataError, match=r"sizes \[\]"):
        concatenate([])


def _spoil(array: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def spoil(data: dict[str, Any]) -> None:
        data[array] = data[array].copy()
        data[array][2, 3, 4] = value

    return spoil


def _change(array: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def spoil(data: dict[str, Any]) -> None:
        data[array] = change(data[array])

    return spoil


FAULTS = {
    "labels 0 to 3": _spoil("masks", 4),
    "NaNs": _spoil("images", np.nan),
    "up to 1.00098 in magnitude": _spoil("images", -1.001),
    "up to inf": _spoil("images", np.inf),
    "masks.npy has 5 slices, index.parquet has 6 rows": _change("masks", lambda a: a[:5]),
    "images.npy has 5 slices": _change("images", lambda a: a[:5]),
    "dtype int64, expected uint8": _change("masks", lambda a: a.astype(np.int64)),
    "dtype float32, expected float16": _change("images", lambda a: a.astype(np.float32)),
    "shape (6, 8, 7), expected (slices, size, size)": _change("masks", lambda a: a[:, :, :7]),
    "slices of (4, 4)": _change("images", lambda a: a[:, :4, :4]),
    "no column 'subject'": _change("index", lambda a: a.drop(columns="subject")),
}


@pytest.mark.parametrize("message", FAULTS)
def test_content_that_breaks_the_format_is_not_written(message: str, tmp_path: Path) -> None:
    data = content()
    FAULTS[message](data)
    with pytest.raises(DataError) as error:
        SliceStore.write(tmp_path / "set", **data)
    assert message in str(error.value)
    assert str(tmp_path / "set") in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("message", [message for message in FAULTS if "column" not in message])
def test_content_that_breaks_the_format_is_not_opened(message: str, tmp_path: Path) -> None:
    data = content()
    SliceStore.write(tmp_path / "set", **data)
    FAULTS[message](data)
    for name in ("masks", "images"):
        np.save(tmp_path / f"set/{name}.npy", data[name])
    with pytest.raises(DataError) as error:
        SliceStore.open(tmp_path / "set")
    assert message in str(error.value)


def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    data = content()
    _spoil("masks", 9)(data)
    _spoil("images", 2)(data)
    with pytest.raises(DataError, match=r"(?s)label 9.*up to 2 in magnitude"):
        SliceStore.write(tmp_path / "set", **data)


@pytest.mark.parametrize("name", ["images.npy", "masks.npy", "index.parquet"])
def test_missing_cut_and_foreign_files_are_named(name: str, tmp_path: Path) -> None:
    SliceStore.write(tmp_path / "set", **content())
    file = tmp_path / "set" / name
    whole = file.read_bytes()
    for spoiled in (whole[:-40], whole[:10], b"", b"no such format" * 20):
        file.write_bytes(spoiled)
        with pytest.raises(DataError, match=name):
            SliceStore.open(tmp_path / "set")
    file.unlink()
    with pytest.raises(DataError, match=f"{name}: missing"):
        SliceStore.open(tmp_path / "set")


def test_pickles_are_not_read(tmp_path: Path) -> None:
    SliceStore.write(tmp_path / "set", **content())
    np.save(tmp_path / "set/masks.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"masks\.npy"):
        SliceStore.open(tmp_path / "set")


@pytest.mark.parametrize("before", [False, True])
def test_full_disk_leaves_nothing_half_written(before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if before:
        SliceStore.write(tmp_path / "set", **content(1))
    save, calls = cmr.store._save, []

    def full_at_the_second_array(file: Any, array: Any) -> None:
        calls.append(array)
        save(file, array)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cmr.store, "_save", full_at_the_second_array)
    with pytest.raises(DataError, match=r"disk is full: about 0\.0 MB are needed"):
        SliceStore.write(tmp_path / "set", **content())
    assert [path.name for path in tmp_path.iterdir()] == (["set"] if before else [])
    if before:
        assert SliceStore.open(tmp_path / "set").digest() == SliceStore(**content(1)).digest()


def test_an_older_store_is_replaced_as_a_whole(tmp_path: Path) -> None:
    SliceStore.write(tmp_path / "set", **content(0))
    (tmp_path / ".set.writing").mkdir()  # left by a killed run
    (tmp_path / ".set.writing/images.npy").write_bytes(b"half")
    data = content(1)
    SliceStore.write(tmp_path / "set", data["index"], data["masks"])
    assert sorted(files(tmp_path / "set")) == ["index.parquet", "masks.npy"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
