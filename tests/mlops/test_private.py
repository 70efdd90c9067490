"""DVC's site cache, which is read with pickle, is a folder that only its user can reach: for a plain ``dvc repro`` too."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmr.errors import DataError
from mlops.doctor import examine
from mlops.private import SITE_CACHE, faults, keep_private
from tests.mlops.conftest import REPOSITORY

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder away")


@pytest.fixture(params=[0o022, 0o000], ids=["umask 022", "umask 000"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def clone(tmp_path: Path, umask: int) -> Path:
    """A fresh clone of a project with this repository's settings of DVC, and one stage as ours are."""
    origin, found = tmp_path / "origin", tmp_path / "clone"
    for name in (".dvc/config", ".dvc/.gitignore", f"{SITE_CACHE}/repo/.gitkeep", ".gitignore", "params.yaml"):
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, origin / name)
    stage = f"{sys.executable} -c 'from pipelines.stage import run; run(lambda: None)'"
    (origin / "dvc.yaml").write_text(f'stages:\n  one:\n    cmd: "{stage}"\n')
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "-m", "x"]):
        subprocess.run(["git", *words], cwd=origin, check=True)
    subprocess.run(["git", "clone", "--quiet", str(origin), str(found)], check=True)
    return found


def dvc(folder: Path, *words: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    environment["PYTHONPATH"] = str(REPOSITORY)
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def of_doctor(root: Path) -> tuple[str, str]:
    (check,) = [check for check in examine(root) if check.name == "DVC site cache"]
    return check.state, check.found


def test_a_plain_repro_in_a_fresh_clone_keeps_its_cache_in_the_project(clone: Path, umask: int) -> None:
    dvc(clone, "repro")
    caches = list((clone / SITE_CACHE / "repo").glob("*/hashes/local/cache.db"))
    assert len(caches) == 1
    for folder in (clone / SITE_CACHE, clone / SITE_CACHE / "repo"):
        assert faults(folder, 0o700) == ""
    assert of_doctor(clone)[0] == "ok"
    status = subprocess.run(["git", "status", "--short"], cwd=clone, capture_output=True, text=True).stdout
    assert SITE_CACHE not in status


def test_what_others_could_write_is_dropped_before_dvc_reads_it(clone: Path, umask: int) -> None:
    planted = clone / SITE_CACHE / "repo/planted"
    planted.mkdir(parents=True)
    planted.chmod(0o777)
    (clone / SITE_CACHE).chmod(0o777)
    assert of_doctor(clone)[0] == "fail"
    keep_private(clone)
    assert not planted.exists()
    assert of_doctor(clone)[0] == "ok"


@as_root
@pytest.mark.parametrize("whose", [SITE_CACHE, f"{SITE_CACHE}/repo", f"{SITE_CACHE}/repo/planted"])
def test_what_belongs_to_somebody_else_is_not_read(clone: Path, whose: str) -> None:
    (clone / whose).mkdir(exist_ok=True)
    os.chown(clone / whose, NOBODY, NOBODY)
    if whose == SITE_CACHE:
        assert of_doctor(clone) == ("fail", f"{clone / whose} belongs to the user with the number {NOBODY}, not to you: "
                                    "who writes there runs programs as you")  # fmt: skip
    keep_private(clone)
    assert all(path.stat().st_uid == os.getuid() for path in [clone / SITE_CACHE, *(clone / SITE_CACHE).rglob("*")])


def test_a_link_is_not_followed(clone: Path, tmp_path: Path) -> None:
    shutil.rmtree(clone / SITE_CACHE)
    (tmp_path / "elsewhere").mkdir()
    (clone / SITE_CACHE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="symbolic link"):
        keep_private(clone)
    assert (tmp_path / "elsewhere").is_dir()


def test_the_doctor_sees_where_dvc_keeps_it(clone: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (clone / ".dvc/config").write_text("[core]\n    analytics = false\n")
    assert of_doctor(clone)[0] == "fail"  # DVC's own place
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "open"))
    (tmp_path / "open/repo").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    assert of_doctor(clone)[0] == "fail"
    (tmp_path / "open").chmod(0o700)
    assert of_doctor(clone)[0] == "ok"


@pytest.mark.parametrize(("mode", "state"), [(0o600, "ok"), (0o640, "fail"), (0o604, "fail"), (0o400, "ok")])
def test_the_doctor_looks_at_keys_and_tokens(
    tmp_path: Path, clone: Path, monkeypatch: pytest.MonkeyPatch, mode: int, state: str
) -> None:
    monkeypatch.setenv("SYNCMRI_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "keys/token"))
    (tmp_path / "keys").mkdir()
    for name in ("house.key", "signing.key", "token"):
        (tmp_path / "keys" / name).write_text("x")
        (tmp_path / "keys" / name).chmod(mode)
    found = {check.name: check.state for check in examine(clone)}
    assert {found[f"key {name}"] for name in ("house.key", "signing.key", "token")} == {state}
