"""One training by several processes of a cluster, which goes on when one of them, or its node, is lost."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cmr.errors import DataError
from mlops.cluster import enter_project, joined, workers

FAILURES = 5
"""How many workers or nodes a training may lose on its way; each time it goes on from its last state."""


def train_on_cluster(function: Callable[..., None], words: Sequence[str], *, label: str, root: Path) -> None:
    """Calls ``function(*words)`` in ``train.workers`` processes that form one ``torch.distributed`` group.

    With fewer than that left they go on with as many as there is room for: the global batch stays the same. What the function
    writes must lie in the project's folder, which all nodes see, and so must its states.

    Args:
        function: of an importable module; begun anew after a loss, it must go on from its own last state.

    Raises:
        DataError: one that the function has raised, as it was; or workers were lost more than ``FAILURES`` times.
        Exception: any other that the function has raised, as the cause of a :class:`DataError`.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    most = workers(root)
    with joined(root):
        gpus = ray.cluster_resources().get("GPU", 0) > 0
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)  # not lost while we are here
        fault: Any = ray.remote(_Fault).options(num_cpus=0, scheduling_strategy=here).remote()
        trainer = TorchTrainer(
            _in_worker,
            train_loop_config={"function": function, "words": list(words), "fault": fault},
            scaling_config=ScalingConfig(
                num_workers=(1, most) if most > 1 else 1,  # type: ignore[arg-type]  # mypy sees the older API's class
                use_gpu=gpus,
                resources_per_worker={"CPU": 1, "GPU": 1} if gpus else {"CPU": 1},
            ),
            run_config=RunConfig(
                name=label.replace("/", "-"),
                storage_path=str(root.resolve() / ".syncmri" / "ray"),
                failure_config=FailureConfig(max_failures=FAILURES),
            ),
        )
        failed: Exception | None = None
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            failed = error
        except SystemExit:  # what Ray makes of Ctrl-C, and with status 0: to DVC the stage would have done its work
            raise KeyboardInterrupt from None
        told = ray.get(fault.told.remote())
    if told is not None:
        raise told
    if failed is not None:
        raise DataError(f"{label}: the training failed {FAILURES + 1} times on the cluster, at last by: {failed}") from failed


def _in_worker(config: dict[str, Any]) -> None:
    import ray

    if ray.get(config["fault"].told.remote()) is not None:  # begun anew by Ray after an error that would come again
        return
    enter_project()
    _take_device()
    try:
        config["function"](*config["words"])
    except Exception as error:  # the driver learns of every fault that would come again; all are raised again
        if getattr(error, "lasting", isinstance(error, DataError)):
            ray.get(config["fault"].tell.remote(error))
        raise


def _take_device() -> None:
    import torch
    from ray.train.torch import get_device

    if torch.cuda.is_available():
        torch.cuda.set_device(get_device())


class _Fault:
    """Keeps the error of a worker that would come again however often it is begun anew."""

    def __init__(self) -> None:
        self._error: Exception | None = None

    def tell(self, error: Exception) -> None:
        self._error = self._error or error

    def told(self) -> Exception | None:
        return self._error
