"""A real Ray cluster of several nodes on this machine: each is a raylet of its own with workers and an object store."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ray.cluster_utils import Cluster

STORE = 100_000_000  # bytes of a node's object store


@contextmanager
def cluster(*cpus: int) -> Iterator[Cluster]:
    """A cluster with a node for each count of CPUs, the first being the head; ``RAY_ADDRESS`` names it meanwhile.

    Its nodes are ``found.head_node`` and those that ``found.add_node`` gives; see :func:`lose`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning about GPUs
        found = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": cpus[0], "object_store_memory": STORE, "include_dashboard": False},
        )
        try:
            for count in cpus[1:]:
                found.add_node(num_cpus=count, object_store_memory=STORE)
            patch.setenv("RAY_ADDRESS", found.address)
            yield found
        finally:
            found.shutdown()


def lose(found: Cluster) -> None:
    """Kill (SIGKILL) the raylet of a node that is not the head; its workers die with it."""
    found.remove_node(next(iter(found.worker_nodes)), allow_graceful=False)
