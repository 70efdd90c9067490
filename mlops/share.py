"""Work of many equal parts that need nothing of one another: one after the other in this process, or at once on a cluster."""

import atexit
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from cmr.errors import DataError
from mlops.cluster import joined, wanted, workers

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 5
"""How often a part is begun again that was lost with its worker or node; what it raises itself is never tried again."""


def share(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    label: str,
    unit: str,
    root: Path,
    cores: int = 1,
    network: bool = False,
) -> list[Result]:
    """What ``function`` makes of each item, in the order of the items, with one progress bar for all.

    Where a cluster is wanted (see :func:`mlops.cluster.wanted`) each item is a task of its own, wherever there is room; the
    project's folder is a task's working directory. A task that is lost with its node is done again elsewhere.

    Args:
        function: of an importable module, or a partial of one: a stage's own module is another in each process.
        items: small, names rather than arrays: they travel.
        label, unit: of the progress bar.
        cores: that one item is worth.
        network: it runs a network, and so takes a GPU where the cluster has any.

    Raises:
        DataError: one that the function has raised, as it was; or the cluster has lost an item for good.
    """
    if _plain(function).__module__ == "__main__":
        raise ValueError(f"{_plain(function).__name__}: give a function of an importable module; workers can't find this one")
    if not wanted(root):
        return [function(item) for item in tqdm(items, desc=label, unit=unit)]
    _join(root)
    return _on_cluster(function, items, label, unit, cores, network)


def room(root: Path) -> int:
    """How many trainings the cluster has room for at once, at least 1: by its GPUs, or by its cores where it has none."""
    import ray

    with joined(root):
        has = ray.cluster_resources()
    return max(1, int(has.get("GPU") or has.get("CPU", 1)) // workers(root))


_until_the_end = ExitStack()
atexit.register(_until_the_end.close)


def _join(root: Path) -> None:
    """Joins the cluster for as long as this process lives, if it has not: that takes seconds, and a worker that stays keeps the
    network that it has read."""
    import ray

    if not ray.is_initialized():
        _until_the_end.enter_context(joined(root))


def _on_cluster(
    function: Callable[[Item], Result], items: Sequence[Item], label: str, unit: str, cores: int, network: bool
) -> list[Result]:
    import ray

    gpus = 1 if network and ray.cluster_resources().get("GPU") else 0
    # max_calls=0: a worker that has loaded a network keeps it for the next item, on a GPU too.
    work: Any = ray.remote(num_cpus=cores, num_gpus=gpus, max_calls=0, max_retries=RETRIES)(_in_worker)
    task = work.options(name=label)
    places = {task.remote(function, item): place for place, item in enumerate(items)}
    results: dict[int, Result] = {}
    # Where one fails, the others end with this process: to cancel a task just as it ends makes Ray 2.60 abort its driver.
    with tqdm(total=len(items), desc=label, unit=unit) as bar:
        while places:
            ready, _ = ray.wait(list(places), num_returns=1)
            for one in ready:
                results[places[one]] = _fetched(one, label)
                del places[one]
                bar.update()
    return [results[place] for place in range(len(items))]


def _in_worker(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


def _fetched(one: Any, label: str) -> Any:
    import ray
    from ray import exceptions

    try:
        # A copy of our own: the object store's can't be written to, and would fill the store for as long as we hold it.
        return deepcopy(ray.get(one))
    except exceptions.RayError as error:
        cause = error.cause if isinstance(error, exceptions.RayTaskError) else error
        if not isinstance(cause, exceptions.RayError):
            # As it was raised, and from where; Ray's own is a mixture of both.
            raise cause.with_traceback(None) from (None if isinstance(cause, DataError) else error)
        if isinstance(cause, exceptions.OutOfMemoryError):
            advice = (
                "workers of the cluster ran out of memory, again and again. Let a node do less at a time (a smaller "
                "`ray start --num-cpus`), or give it more memory."
            )
        elif isinstance(cause, exceptions.OutOfDiskError | exceptions.ObjectStoreFullError):
            advice = (
                "a node's object store and the disk that it spills to are full. Free space in Ray's temporary folder "
                "(`ray start --temp-dir`), or give the store more memory (`--object-store-memory`)."
            )
        else:
            advice = (
                f"the cluster lost the same part of the work {RETRIES + 1} times, or was lost itself; `ray status` shows which "
                "nodes it still has. Run the command again when they stay."
            )
        raise DataError(f"{label}: {advice} Ray said: {_first_line(cause)}") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _plain(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function
