"""What benchmarks/quality.py measures of drawn images, beside real slices of patients that no generator has seen."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cmr.store import SliceStore
from evaluation.adherence import mask_adherence
from evaluation.fidelity.frechet import frechet_distance
from evaluation.fidelity.kernel import kid
from evaluation.privacy.search import squared_distance
from evaluation.segmenter_features import segmenter_features
from mlops.settings import GeneratorsSettings, check, lookup
from models.base import Generator
from models.checkpoint import load_network
from models.conditions import encode, far_distances
from models.config import AugmentSettings, ImageSamplingSettings
from models.data import one_hot
from models.segmenter import Segmenter, predict
from pipelines.sampling import image_seeds
from pipelines.train_generator import heart_rich

BANDS = 8  # of the spectrum, each as wide
SIGMAS = (0.1, 0.3, 1.0, 3.0)  # noise at which the linear denoiser's errors are compared
Features = Callable[[NDArray[np.floating]], NDArray[np.float64]]


@dataclass(frozen=True)
class Project:
    """The real slices of a project, and the segmenter that was trained on such."""

    training: SliceStore
    holdout: SliceStore
    test: SliceStore
    reader: Segmenter
    augment: AugmentSettings

    @staticmethod
    def open(params: dict[str, Any]) -> "Project":
        """The one in the working directory."""
        training, holdout, test = (SliceStore.open(Path("data/cohort") / split) for split in ("train", "holdout", "test"))
        dataset = check(lookup(params, "generators"), GeneratorsSettings, "generators").train_on[0]
        reader = load_network(Path(f"runs/segmenter/{dataset}-real"), Segmenter, torch.device("cpu"))
        return Project(training, holdout, test, reader, check(lookup(params, "augment"), AugmentSettings, "augment"))


def images_of(store: SliceStore) -> torch.Tensor:
    """All slices (N, 1, S, S)."""
    return torch.from_numpy(np.array(store.images, np.float32))[:, None]


class Yardstick:
    """Measures images beside real slices of patients that no generator has seen.

    Attributes:
        floor: the figures of the real slices of the test masks, against as many held-out slices as there are unseen ones that
            drawn images are compared with: what a perfect generator would have.
    """

    def __init__(self, project: Project, features: Features, count: int):
        self.features, self.reader = features, project.reader
        self.sources = {"train": heart_rich(project.training, count), "test": heart_rich(project.test, count)}
        holdout, test = (real(store) for store in (project.holdout, project.test))
        self.unseen = spread(np.concatenate([holdout, test]), 2 * count)
        self.seen_by = self._seen(self.unseen)
        as_many = min(len(project.training), len(holdout))
        chosen = np.random.default_rng(0)
        self.near = {
            "training": chosen.permutation(real(project.training))[:as_many],
            "holdout": chosen.permutation(holdout)[:as_many],
        }
        some, others = real(self.sources["test"]), spread(holdout, 2 * count)
        self.floor = {**self._apart(self._seen(others), some), "nearest": self._nearest(some), "n": len(some)}

    @torch.no_grad()
    def measure(self, network: Generator, how: ImageSamplingSettings, source: str, seed: int) -> dict[str, Any]:
        """The figures of an image for each mask of a source."""
        chosen = self.sources[source]
        masks, seeds = one_hot(torch.from_numpy(np.array(chosen.masks))), image_seeds(seed, source, len(chosen))
        settings: dict[str, Any] = {
            "sampler": how.sampler,
            "steps": how.steps,
            "guidance": how.guidance,
            "precision": how.precision,
        }
        began = time.process_time()
        parts = [
            network.sample(masks[at : at + how.micro_batch], seeds[at : at + how.micro_batch], **settings)
            for at in range(0, len(masks), how.micro_batch)
        ]
        seconds = time.process_time() - began
        drawn = torch.cat(parts)[:, 0].float().numpy()
        return {
            "n": len(drawn),
            **self._apart(self.seen_by, drawn),
            "adherence": self._adherence(drawn, chosen.masks),
            "adherence_real": self._adherence(real(chosen), chosen.masks),
            "spectrum": [round(ratio, 4) for ratio in spectrum(drawn) / spectrum(self.unseen)],
            "nearest": self._nearest(drawn),
            "seconds_per_image": round(seconds / len(drawn), 4),
        }

    def _seen(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        return {"inception": self.features(images), "segmenter": segmenter_features(self.reader, images)}

    def _apart(self, reference: dict[str, NDArray[np.float64]], images: NDArray[np.float32]) -> dict[str, float]:
        seen = self._seen(images)
        return {
            "kid": round(float(kid(reference["inception"], seen["inception"])), 4),
            "fid": round(frechet_distance(reference["inception"], seen["inception"]), 1),
            "segmenter_frechet": round(frechet_distance(reference["segmenter"], seen["segmenter"]), 3),
        }

    def _adherence(self, images: NDArray[np.float32], masks: NDArray[np.uint8]) -> float:
        read = predict(self.reader, images, batch=32, precision="float32")
        return round(float(np.nanmean(mask_adherence(read, masks))), 4)

    def _nearest(self, images: NDArray[np.float32]) -> dict[str, float]:
        """Median root mean square distance of a pixel to the nearest slice of each side."""
        return {
            side: round(float(np.sqrt(np.median(squared_distance(images, slices).min(axis=1)) / images[0].size)), 4)
            for side, slices in self.near.items()
        }


def real(store: SliceStore) -> NDArray[np.float32]:
    return np.array(store.images, np.float32)


def spread(images: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """At most ``count`` of the images, evenly over all."""
    return images[np.unique(np.linspace(0, len(images) - 1, count).astype(int))]


def spectrum(images: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean power (BANDS,) of images (N, S, S) in rings of spatial frequency, means left out, up to half the sampling rate."""
    size = images.shape[-1]
    power = (np.abs(np.fft.fft2(images)) ** 2).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    band = np.floor(frequency * 2 * BANDS).astype(int).ravel()
    inside = (band < BANDS) & (frequency.ravel() > 0)
    return np.bincount(band[inside], power.ravel()[inside], BANDS) / np.bincount(band[inside], minlength=BANDS)


@torch.no_grad()
def linear_errors(network: Any, project: Project) -> dict[str, list[float]] | None:
    """What a generator's linear denoiser alone misses of training and of held-out slices, at each of SIGMAS; None without one.

    Both are alike where it holds statistics and no patients.
    """
    if getattr(network, "gaussian", None) is None:
        return None
    found = {}
    for side, store in (("training", project.training), ("holdout", project.holdout)):
        images, masks = images_of(store), one_hot(torch.from_numpy(np.array(store.masks)))
        pictures = network.latents(images) if hasattr(network, "latents") else images
        mean = network.gaussian.mean(far_distances(encode(masks, "distances")))
        noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
        levels = [(sigma, torch.full((len(pictures),), sigma)) for sigma in SIGMAS]
        missed = [network.gaussian(pictures + sigma * noise, level, mean) - pictures for sigma, level in levels]
        found[side] = [round(float(error.square().mean().sqrt()), 4) for error in missed]
    return found
