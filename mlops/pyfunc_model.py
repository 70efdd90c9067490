"""The code of a registered model: MLflow runs this file when it loads one, without this project and without DVC.

The rooms ``cmr`` and ``models`` lie beside it, as they were when the model was packaged. Nothing heavy is imported before the
network is loaded, so that packaging takes no time.

Images are drawn from ``masks`` (N, 4, S, S), one-hot; masks are drawn from ``seeds`` (N,). Parameters:

- ``seed`` (images): the n-th image of a call has the n-th seed spawned of it, however many are asked for.
- ``steps``: of the sampler; 0 for as many as the figures were measured with.
- ``guidance`` (images): 1 follows the mask as trained, 0 stands for what the figures were measured with.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from numpy.typing import NDArray

_MASKS = "masks"
_LARGEST_SEED = 2**63 - 1


class RegisteredModel(PythonModel):
    """Draws images for masks, or masks from seeds.

    Attributes:
        network: the trained network, on the GPU if there is one.
        settings: how it draws: :class:`models.config.ImageSamplingSettings`, or ``MaskSamplingSettings``.
    """

    network: Any
    settings: Any

    def load_context(self, context: PythonModelContext) -> None:
        """Builds the network; raises where its files are missing or were changed."""
        from models.packaged import load_packaged

        packaged = load_packaged(Path(context.artifacts["weights"]).parent)
        self._model, self._size = packaged.model, packaged.size
        self.network, self.settings = packaged.network, packaged.settings

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> NDArray[np.float32]:
        """Images (N, 1, S, S) float32 in [-1, 1], or one-hot masks (N, 4, S, S) float32.

        Args:
            model_input: the array, or the only one of a mapping, as the signature's names make it. (From an array as its type
                MLflow reads no schema of its own; from a mapping it would.)

        Raises:
            MlflowException: an input or a parameter that can't be drawn from; it says which, and what was expected.
        """
        params = params or {}
        given = np.asarray(next(iter(model_input.values())) if isinstance(model_input, dict) else model_input)
        steps = self._steps(int(params.get("steps") or 0))
        how = {"sampler": self.settings.sampler, "steps": steps, "precision": self.settings.precision}
        if self._model == _MASKS:
            return self._masks(given, how)
        how["guidance"] = self._guidance(float(params.get("guidance") or 0.0))
        return self._images(given, int(params.get("seed") or 0), how)

    def _images(self, masks: NDArray, seed: int, how: dict[str, Any]) -> NDArray[np.float32]:
        import torch

        shape = (4, self._size, self._size)
        if masks.ndim != 4 or masks.shape[1:] != shape:
            raise _invalid(f"masks of the shape {masks.shape}; expected (N, {', '.join(map(str, shape))})")
        if not np.isin(masks, (0, 1)).all() or (masks.sum(axis=1) != 1).any():
            raise _invalid("masks are not one-hot: each pixel must have a 1 in one channel and 0 in the other three")
        seeds = _spawned(seed, len(masks))
        images = np.empty((len(masks), 1, self._size, self._size), np.float32)
        device = next(self.network.parameters()).device
        for rows in self._batches(len(masks)):
            part = torch.from_numpy(np.ascontiguousarray(masks[rows], np.float32)).to(device)
            images[rows] = self.network.sample(part, seeds[rows], **how).float().cpu().numpy()
        return images.clip(-1, 1)

    def _masks(self, seeds: NDArray, how: dict[str, Any]) -> NDArray[np.float32]:
        if seeds.ndim != 1 or not np.issubdtype(seeds.dtype, np.integer):
            raise _invalid(f"seeds: found {seeds.dtype} of the shape {seeds.shape}; expected integers (N,)")
        if (seeds < 0).any():
            raise _invalid(f"seeds: found {seeds.min()}; expected 0 to {_LARGEST_SEED}")
        masks = np.empty((len(seeds), 4, self._size, self._size), np.float32)
        for rows in self._batches(len(seeds)):
            labels = self.network.sample(self._size, [int(seed) for seed in seeds[rows]], **how).cpu().numpy()
            masks[rows] = np.moveaxis(np.eye(4, dtype=np.float32)[labels], -1, 1)
        return masks

    def _batches(self, count: int) -> list[slice]:
        batch = self.settings.micro_batch
        return [slice(start, start + batch) for start in range(0, count, batch)]

    def _steps(self, steps: int) -> int:
        most = self.network.timesteps
        if not 0 <= steps <= most:
            raise _invalid(f"steps: found {steps}; expected 1 to {most}, or 0 for the usual {self.settings.steps}")
        return steps or int(self.settings.steps)

    def _guidance(self, guidance: float) -> float:
        if not np.isfinite(guidance) or guidance < 0:
            raise _invalid(f"guidance: found {guidance}; expected a number above 0, or 0 for {self.settings.guidance}")
        return guidance or float(self.settings.guidance)


def _spawned(seed: int, count: int) -> list[int]:
    if not 0 <= seed <= _LARGEST_SEED:
        raise _invalid(f"seed: found {seed}; expected 0 to {_LARGEST_SEED}")
    return [int(value >> np.uint64(1)) for value in np.random.SeedSequence(seed).generate_state(count, np.uint64)]


def _invalid(fault: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(fault)


set_model(RegisteredModel())
