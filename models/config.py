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
    micro_batch: int | None
    """Slices that pass through the network at a time, their gradients summed to the batch's; null: the whole batch. Bounds
    memory and changes no result beyond rounding."""
    optimiser: Literal["adam", "adamw", "muon"]
    """``muon``: Muon for convolutions between many channels and AdamW for the rest (see :mod:`models.optimisers`)."""
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
    keep: Literal["best", "last"]
    """Which weights remain where there is a validation: those with the best score, or the last ones, which under a cosine
    schedule are the best trained. A score of few images is a weak reason to take others."""
    checkpoint_seconds: float
    """Seconds from one saved state to the next; the state is saved after the first step at which they have passed."""

    def __post_init__(self) -> None:
        if self.epochs is None and self.max_steps is None:
            raise ValueError("a training needs 'epochs' or 'max_steps', found null for both")
        counts = (self.batch, self.validations, self.epochs, self.max_steps, self.micro_batch)
        if min(count for count in counts if count is not None) < 1:
            raise ValueError("batch, micro_batch, validations, epochs and max_steps must be at least 1")


@dataclass(frozen=True)
class GeneratorTrainSettings(TrainSettings):
    """How a generator of images is trained."""

    mask_drop: float
    """Share of the slices that are shown without their mask, in [0, 1): what guidance in sampling needs; 0: never."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.mask_drop < 1:
            raise ValueError(f"mask_drop must lie in [0, 1), found {self.mask_drop}")


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
class ScheduleSettings:
    """The forward process of a diffusion model: how much noise there is at each time step."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    timesteps: int
    kind: Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
    """How β rises from ``beta_start`` to ``beta_end``: evenly, evenly in √β, or as a cosine in ᾱ (which takes neither)."""
    beta_start: float
    beta_end: float
    prediction: Literal["epsilon", "v_prediction", "residual"]
    """What the network predicts: the noise; √ᾱ·noise - √(1 - ᾱ)·x_0; or what the linear denoiser misses of x_0, in units of its
    expected error (see :mod:`models.gaussian`)."""


@dataclass(frozen=True)
class CheckSettings:
    """How a generator draws the images that it is scored by while it trains."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    sampler: str
    steps: int


@dataclass(frozen=True)
class SamplingSettings:
    """How images or masks are drawn from a trained network."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    sampler: str
    """One of those that the network knows (``samplers`` of its class)."""
    steps: int
    micro_batch: int
    """Images at a time: bounds memory, changes no image."""
    precision: Precision


@dataclass(frozen=True)
class MaskSamplingSettings(SamplingSettings):
    """How masks are drawn."""

    attempts: int
    """Draws a mask at most: above 1, a mask that is anatomically not valid is drawn again with another seed."""
    clean_up: bool
    """Keep only the largest piece of each structure and fill holes, before a mask is judged (:mod:`evaluation.clean_up`)."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, found {self.attempts}")


@dataclass(frozen=True)
class ImageSamplingSettings(SamplingSettings):
    """How images are drawn for masks."""

    guidance: float
    """Scale of classifier-free guidance on the mask; 1: off. Others need a training with ``mask_drop`` above 0, and each image
    passes through the network twice a step."""
