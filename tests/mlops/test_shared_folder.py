"""Two people in one folder: what one writes the other can go on with, where the folder is the group's. Keys stay private."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops.approvals.keys import keys_folder
from mlops.connection import connect
from mlops.private import ENVIRONMENT, SITE_CACHE, close_to_others, keep_private
from mlops.registry import register
from mlops.sync import sync
from mlops.tuning.studies import create
from tests.mlops.registered import MODEL

GROUP_WRITES = stat.S_IWGRP


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_database_and_what_lies_beside_it_is_the_group_s_where_the_folder_is(demo: Path) -> None:
    (demo / "mlflow.db").unlink()
    demo.chmod(0o2775)
    tracking = connect(demo)
    run = tracking.client.create_run(tracking.experiment)
    tracking.client.log_text(run.info.run_id, "x", "note.txt")
    study = create(demo, "ddpm", several=False, trials=1)
    note = next((demo / "mlartifacts").rglob("note.txt"))
    for path in (demo / "mlflow.db", study.folder / "optuna.db", note, note.parent, demo / ".syncmri", study.folder):
        assert mode(path) & GROUP_WRITES, path
        assert not mode(path) & stat.S_IWOTH, path
    assert mode(demo / ".syncmri/mlflow.lock") & GROUP_WRITES  # else the other one cannot even connect


def test_a_folder_of_one_person_stays_one_person_s(demo: Path) -> None:
    (demo / "mlflow.db").unlink()
    demo.chmod(0o755)
    connect(demo)
    assert mode(demo / "mlflow.db") == 0o644
    assert mode(demo / ".syncmri") == 0o755


def test_a_umask_that_hides_from_the_group_is_left_alone(demo: Path) -> None:
    (demo / "mlflow.db").unlink()
    demo.chmod(0o775)
    os.umask(0o077)
    connect(demo)
    assert mode(demo / "mlflow.db") == 0o600


def test_keys_and_the_site_cache_stay_private(registered: Path) -> None:
    registered.chmod(0o2775)
    keep_private(registered)
    sync(registered)
    register(connect(registered), MODEL)
    assert mode(registered / SITE_CACHE) == 0o700
    keys = list(keys_folder().glob("*.key"))
    assert keys
    assert {mode(path) for path in keys} == {0o600}
    others = [path for path in (registered / "inhouse").rglob("*") if mode(path) & stat.S_IWOTH]
    assert not others


def test_each_of_them_may_have_a_site_cache_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / SITE_CACHE).symlink_to(tmp_path / "elsewhere")  # stands for a folder that is not the caller's
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "own"))
    keep_private(tmp_path)
    close_to_others(tmp_path)
    assert not (tmp_path / "own").exists()  # DVC makes it
