"""Work in equal parts, in this process and on a cluster of two nodes, one of which is lost in the end."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import ray

from cmr.errors import DataError, DataErrors
from mlops.cluster import joined
from mlops.share import share
from tests.mlops.conftest import REPOSITORY
from tests.mlops.nodes import Cluster, cluster, lose


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder; the code is in the repository."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text("train:\n  workers: 1\n")
    return folder


@pytest.fixture(scope="module")
def nodes(root: Path) -> Iterator[Cluster]:
    """Two nodes of one CPU each, joined once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        with cluster(1, 1) as found, joined(root):
            yield found


def square(number: int) -> int:
    return number * number


def faulty(number: int) -> int:
    if number == 3:
        raise DataErrors("patient003: two faults:", ["no header", "no labels"])
    return number


def broken(number: int) -> int:
    error = ZeroDivisionError("nothing to divide by")
    error.add_note("while reading the third")
    raise error


def where(folder: Path, number: int) -> str:
    """Marks its beginning, and waits until another node is at work too, or has been."""
    node = ray.get_runtime_context().get_node_id()
    (folder / node).touch()
    end = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    return node


def endless_on(lost: str, folder: Path, number: int) -> tuple[int, str]:
    """Marks its beginning; on the node ``lost`` it never ends, so that node surely has a part when it is killed."""
    node = ray.get_runtime_context().get_node_id()
    (folder / f"{number}-{node}").touch()
    time.sleep(600 if node == lost else 0.2)
    return number, os.getcwd()


def test_without_a_cluster_it_is_a_loop_of_this_process(root, monkeypatch, capsys):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert share(square, range(7), label="squares", unit="number", root=root) == [0, 1, 4, 9, 16, 25, 36]
    assert share(lambda _: os.getpid(), [0], label="here", unit="process", root=root) == [os.getpid()]
    assert "squares: 100%" in capsys.readouterr().err


def test_a_function_that_workers_cannot_import_is_refused(root):
    def local(number):
        return number

    local.__module__ = "__main__"
    with pytest.raises(ValueError, match="importable module"):
        share(partial(local), [1], label="", unit="", root=root)


@pytest.mark.slow
def test_nodes_work_at_once_and_the_results_are_in_order(root, nodes, tmp_path, capsys):
    assert share(square, range(20), label="squares", unit="number", root=root) == [number**2 for number in range(20)]
    lines = capsys.readouterr().err.replace("\n", "\r").split("\r")
    assert [line for line in lines if "100%" in line and "20/20" in line]
    assert {line.split(":")[0] for line in lines if "it" in line or "number" in line} <= {"squares"}
    assert len(set(share(partial(where, tmp_path), range(4), label="where", unit="part", root=root))) == 2


@pytest.mark.slow
def test_what_a_part_raises_reaches_the_caller_as_itself(root, nodes):
    with pytest.raises(DataError, match="two faults") as error:
        share(faulty, range(6), label="faulty", unit="part", root=root)
    assert type(error.value) is DataErrors
    assert error.value.faults == ["no header", "no labels"]
    with pytest.raises(ZeroDivisionError, match="nothing to divide by") as other:
        share(broken, [1], label="broken", unit="part", root=root)
    assert type(other.value) is ZeroDivisionError
    assert other.value.__notes__ == ["while reading the third"]
    assert "in broken" in str(other.value.__cause__)  # where it was raised


@pytest.mark.slow
def test_parts_that_are_lost_with_their_node_are_done_again(root, nodes, tmp_path):
    other = next(node["NodeID"] for node in ray.nodes() if node["NodeID"] != ray.get_runtime_context().get_node_id())
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(share, partial(endless_on, other, tmp_path), range(8), label="lost", unit="part", root=root)
        end = time.monotonic() + 60
        while not list(tmp_path.glob(f"*-{other}")) and time.monotonic() < end:
            time.sleep(0.05)
        lose(nodes)
        results = done.result(timeout=120)
    assert [number for number, _ in results] == list(range(8))
    assert {folder for _, folder in results} == {str(root)}  # the project's folder
    begun = sorted(int(path.name.split("-")[0]) for path in tmp_path.iterdir())
    assert len(begun) > len(set(begun)), "no part was begun twice: the node had none when it was lost"
