"""What is written is whole or not there, and on the disk before its name says that it is."""

import os
from pathlib import Path

import pytest

from cmr.files import whole_file, whole_folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is brought to the disk and what is renamed, in this order."""
    seen: list[tuple[str, str]] = []
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def of(descriptor: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).name

    monkeypatch.setattr(os, "fsync", lambda descriptor: (seen.append(("disk", of(descriptor))), fsync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(("name", Path(b).name)), replace(a, b))[1])
    monkeypatch.setattr(os, "rename", lambda a, b: (seen.append(("name", Path(b).name)), rename(a, b))[1])
    return seen


def test_a_file_is_on_the_disk_before_and_its_name_after_the_rename(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    with whole_file(tmp_path / "a.json") as temporary:
        temporary.write_text("{}")
    assert calls == [("disk", temporary.name), ("name", "a.json"), ("disk", tmp_path.name)]


def test_so_is_every_file_of_a_folder(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    for _ in range(2):  # the second takes the place of the first
        calls.clear()
        with whole_folder(tmp_path / "set") as temporary:
            (temporary / "deep").mkdir()
            for name in ("a", "deep/b", "deep/c"):
                (temporary / name).write_text(name)
            (temporary / "link").symlink_to("nowhere")
        renamed = calls.index(("name", "set"))
        assert {name for what, name in calls[:renamed] if what == "disk"} == {"a", "b", "c", "deep", temporary.name}
        assert calls[renamed + 1 :] == [("disk", tmp_path.name)]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_what_fails_leaves_what_was_there(tmp_path: Path, whole) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "old").mkdir()
    (tmp_path / "old/file").write_text("before")
    path = tmp_path / "old/file" if whole is whole_file else tmp_path / "old"

    def write() -> None:
        with whole(path) as temporary:
            (temporary if whole is whole_file else temporary / "file").write_text("after")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write()
    assert [(file.name, file.read_text()) for file in (tmp_path / "old").iterdir()] == [("file", "before")]
    assert [place.name for place in tmp_path.iterdir()] == ["old"]
