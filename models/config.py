"""Settings of training, augmentation and sampling. Values live in ``params.yaml``; the reasons stand beside them there."""

from dataclasses import dataclass
from typing import ClassVar, Literal

Precision = Literal["auto", "float32", "bf16"]


@dataclass(frozen=True)
class TrainSettings:
    """How one network is trained (see :func:`models.train.train`)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    epochs: int | None
    """Passes over the training slices; null: ``max_steps`` alone decides."""
    max_steps: int | None
    """Cap on optimisation steps; null: none."""
    batch: int
    optimiser: Literal["adam", "adamw"]
    learning_rate: float
    weight_decay: float
    schedule: Literal["constant", "cosine"]
    warmup_steps: int
    gradient_clip: float | None
    ema: float | None
    """Decay of the moving average of the weights per step; null: the raw weights are kept."""
    precision: Precision
    validations: int
    """How often, evenly spread over the training, the network is validated and may become the best checkpoint."""
    checkpoint_seconds: float
    """Least time between two states written for resuming."""

    def __post_init__(self) -> None:
        if self.epochs is None and self.max_steps is None:
            raise ValueError("a training needs 'epochs' or 'max_steps', found null for both")
        if min(self.batch, self.validations, self.epochs or 1, self.max_steps or 1) < 1:
            raise ValueError("batch, validations, epochs and max_steps must be at least 1")


@dataclass(frozen=True)
class AugmentSettings:
    """Random affine changes, drawn anew for each slice and step, the same for an image and its mask."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    rotation: float
    """Largest angle in degrees, either way."""
    scale: float
    """Largest relative change of size, either way."""
    shift: float
    """Largest shift as a fraction of the image's width, either way."""
    flip: bool
    """Mirror left-right and up-down, each with probability one half. Mirrors the anatomy."""


@dataclass(frozen=True)
class SamplingSettings:
    """How images or masks are drawn from a trained diffusion network."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    sampler: Literal["ddpm", "ddim", "dpm++"]
    steps: int
    batch: int
    precision: Precision


@dataclass(frozen=True)
class ValidationSettings:
    """The few fixed validation masks on which a generator is scored while it trains, by mask adherence."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    images: int
    sampler: Literal["ddpm", "ddim", "dpm++"]
    steps: int
