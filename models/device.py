"""Where to compute and in which precision."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch

from cmr.errors import DataError
from models.config import Precision


def pick_device() -> torch.device:
    """CUDA where there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def exact_float32() -> None:
    """Makes PyTorch compute in full float32 where float32 is asked for; importing :mod:`models` calls it, for the process.

    By default the convolutions of a GPU round their float32 inputs to TF32, whose mantissa has 10 bits: relative errors up to
    5e-4 in each layer, whereas :meth:`models.base.Generator.sample` promises images within 1e-3. Only :func:`autocast` lowers
    the precision.
    """
    torch.backends.cudnn.allow_tf32 = False  # the older switch: code that still reads it fails where the two disagree
    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]  # all operators on all devices


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware, so that mixed precision is faster and not just smaller."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.backends.cpu.get_cpu_capability() if hasattr(torch.backends.cpu, "get_cpu_capability") else ""
    return "AVX512" in capabilities and bool(torch.cpu._is_avx512_bf16_supported())


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """Mixed precision for the forward pass: ``auto`` takes bfloat16 where the device has it, and float32 elsewhere."""
    if precision == "bf16" or (precision == "auto" and has_bf16(device)):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def weights_cast_once(device: torch.device) -> AbstractContextManager:
    """Within it, :func:`autocast` casts each weight once for all network passes; the weights must not change.

    PyTorch keeps the cast weights until the outermost autocast ends, so this is one, which itself changes no precision. It
    keeps those of parameters that require a gradient only, under ``torch.no_grad`` too: do not freeze a network for speed.
    """
    return torch.autocast(device.type, enabled=False)


@contextlib.contextmanager
def memory_advice(parameter: str, value: int) -> Iterator[None]:
    """Turns running out of memory inside into a :class:`DataError` that says which parameter to lower.

    Args:
        parameter: dotted key of the images that pass through the network at a time; ``value``: what it is now.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # The CPU's allocator has no exception class of its own.
        told = ("can't allocate memory", "not enough memory")
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not any(text in str(error) for text in told):
            raise
        advice = f"lower '{parameter}' (now {value})" if value > 1 else "lower the network's widths or 'slices.size'"
        raise DataError(f"Out of memory: {advice}. The device said: {str(error).splitlines()[0]}") from error
