"""What a sweep judges a trained network by beside its validation score: few images, no intervals, made for comparing trials.

Images are made for masks of the validation patients; no figure here has seen a test patient. Members of the membership proxy
are training patients, non-members the hold-out's: a study that weighs it has looked at the hold-out, see docs/tuning.md.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cmr.store import SliceStore
from evaluation.adherence import mask_adherence
from evaluation.fidelity.frechet import frechet_distance
from evaluation.fidelity.kernel import kid
from evaluation.masks import measure_masks
from evaluation.networks.inception import InceptionFeatures
from evaluation.privacy.membership.attack import centred, untrained_scores
from evaluation.privacy.membership.figures import kinds_of_slices, match_members
from evaluation.privacy.membership.settings import MembershipSettings
from evaluation.privacy.membership.signals import read_signals
from evaluation.segmenter_features import segmenter_features
from evaluation.shapes import FEATURES
from evaluation.statistics import ks_d
from mlops.settings import GeneratorsSettings, section
from models.base import Generator, MaskGenerator
from models.checkpoint import load_network
from models.config import CheckSettings, MaskSamplingSettings
from models.data import one_hot
from models.device import pick_device
from models.registry import MASKS, saved_class
from models.segmenter import Segmenter, predict
from pipelines.sampling import image_seeds

_CHANCE = 0.5


def measure(network: str, objectives: tuple[str, ...], images: int) -> dict[str, float]:
    """The objectives of the network trained in this folder.

    Args:
        network: ``masks`` or a generator.
        images: images or masks drawn for them.
    """
    folder = Path("runs") / network
    trained = load_network(folder, saved_class(folder, network), pick_device())
    judge: Any = _Masks(trained, images) if network == MASKS else _Images(network, trained, images)
    found = {name: float(getattr(judge, name)()) for name in objectives}
    if odd := [name for name, value in found.items() if not math.isfinite(value)]:
        raise ValueError(f"{odd[0]} is {found[odd[0]]}")
    return found


class Kid:
    """KID of images for masks of the validation patients, against all their slices.

    Raises:
        DataError: the weights of the Inception network cannot be had.
    """

    def __init__(self, network: str, images: int):
        self._network, self._chosen = network, _spread(SliceStore.open("data/cohort/val"), images)
        self._inception = InceptionFeatures()
        self._real = self._inception(np.asarray(SliceStore.open("data/cohort/val").images))

    def __call__(self, trained: Generator) -> float:
        return kid(self._real, self._inception(_draw(self._network, trained, self._chosen)))


class _Images:
    """The objectives of a generator."""

    def __init__(self, name: str, trained: Generator, images: int):
        self._name, self._trained = name, trained
        self._chosen = _spread(SliceStore.open("data/cohort/val"), images)
        self._drawn = _draw(name, trained, self._chosen)
        reader = f"runs/segmenter/{section('generators', GeneratorsSettings).train_on[0]}-real"
        self._reader: Segmenter = load_network(Path(reader), Segmenter, pick_device())

    def kid(self) -> float:
        inception = InceptionFeatures()
        return kid(inception(np.asarray(SliceStore.open("data/cohort/val").images)), inception(self._drawn))

    def frechet(self) -> float:
        """By features of the segmenter trained on real scans."""
        real, drawn = (segmenter_features(self._reader, images) for images in (np.asarray(self._chosen.images), self._drawn))
        return frechet_distance(real, drawn)

    def adherence(self) -> float:
        """Dice of the same segmenter's reading of an image with the image's mask."""
        scores = mask_adherence(predict(self._reader, self._drawn, batch=64), self._chosen.masks)
        return float(np.nanmean(scores))

    def membership(self) -> float:
        return _membership(self._trained, of_masks=False)


class _Masks:
    """The objectives of the mask model."""

    def __init__(self, trained: MaskGenerator, images: int):
        self._trained = trained
        self._real = _spread(SliceStore.open("data/cohort/train"), images)
        how = section("masks.sampling", MaskSamplingSettings)
        drawn = trained.sample(
            self._real.size,
            image_seeds(section("seed", int), "sweep", images),
            sampler=how.sampler,
            steps=how.steps,
            precision=how.precision,
        )
        self._measured = measure_masks(drawn.cpu().numpy(), np.array([f"drawn-{row}" for row in range(images)]))

    def valid_share(self) -> float:
        return float(self._measured.anatomy["valid"].mean())

    def shapes(self) -> float:
        """Mean KS distance of the shape features from those of training masks; 1 for those of a structure that is missing."""
        real = measure_masks(np.asarray(self._real.masks), self._real.index["subject"].to_numpy()).shapes
        drawn, distances = self._measured.shapes, []
        for structure, rows in real.groupby("structure"):
            found = drawn[drawn["structure"] == structure]
            distances += [ks_d(rows[name], found[name]) if len(found) else 1.0 for name in FEATURES]
        return float(np.mean(distances))

    def membership(self) -> float:
        return _membership(self._trained, of_masks=True)


def _membership(trained: Any, *, of_masks: bool) -> float:
    """AUC of the plain attack on the error (of masks, on its coarse share); what lies below chance is chance."""
    settings, seed = section("privacy.membership", MembershipSettings), section("seed", int)
    train, holdout = (SliceStore.open(f"data/cohort/{split}") for split in ("train", "holdout"))
    match = match_members(train.index, holdout.index, seed, slices=settings.slices)
    errors, kinds = [], []
    for store in (train.select(match.members), holdout.select(match.nonmembers)):
        signals = read_signals(
            trained,
            None if of_masks else np.asarray(store.images),
            np.asarray(store.masks),
            times=settings.times,
            noises=settings.noises,
            seed=seed,
            batch=settings.batch,
            precision="float32",
        )
        errors.append(signals.coarse if of_masks else signals.naive)
        kinds.append(kinds_of_slices(store.index))
    members = np.arange(sum(map(len, errors))) < len(errors[0])
    scores = untrained_scores(centred(np.concatenate(errors), np.concatenate(kinds)))
    return max(_CHANCE, float(roc_auc_score(members, scores)))


def _draw(name: str, trained: Generator, chosen: SliceStore) -> NDArray[np.float32]:
    """An image for each mask of a store, by the few steps that checkpoints are chosen with."""
    how, seeds = section(f"{name}.validation", CheckSettings), image_seeds(section("seed", int), "sweep", len(chosen))
    masks = one_hot(torch.from_numpy(np.array(chosen.masks))).to(pick_device())
    with torch.no_grad():
        drawn = trained.sample(masks, seeds, sampler=how.sampler, steps=how.steps, precision="auto")
    return drawn[:, 0].float().cpu().numpy()


def _spread(store: SliceStore, count: int) -> SliceStore:
    """Slices with a heart, spread over the patients."""
    rows = np.flatnonzero(np.asarray(store.masks).any(axis=(1, 2)))
    return store.select(rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))])
