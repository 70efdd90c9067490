"""Stages of `benchmarks/paper_scale.py` that judge what was made: the figures that need neither downloads nor SciPy."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.paper.training import READ_AT_ONCE
from benchmarks.paper.work import Slices, Work
from cmr.labels import STRUCTURES
from evaluation.adherence import mask_adherence
from evaluation.fidelity.frechet import frechet_distance
from evaluation.images import to_unit
from evaluation.overlap import dice
from evaluation.privacy.search import PatientDistances, image_distance, patient_distances
from evaluation.privacy.shares import closer_share, mean_nearest, ratio
from evaluation.segmenter_features import segmenter_features
from models.base import Generator
from models.data import one_hot
from models.registry import generator_class
from models.segmenter import Segmenter, predict

BLOCK = 512


def judge_real(work: Work) -> dict[str, Any]:
    """The floors: what real slices that nobody trained on get."""
    test, reader = own_test(work), work.network("segmenter-real", Segmenter)
    read = predict(reader, test.images, batch=READ_AT_ONCE)
    return {
        "adherence": float(np.nanmean(mask_adherence(read, test.masks))),
        "frechet": _frechet(work, reader, work.train.images, test.images),
        "dice": _dice(work, reader),
        "neighbours": _neighbours(work, test.images),
    }


def judge_images(work: Work, name: str, source: str) -> dict[str, Any]:
    """A drawn set beside its masks, the real test slices, the training and the hold-out patients."""
    images, masks = work.drawn(f"sample-{name}-{source}"), work.masks_of(source)
    reader = work.network("segmenter-real", Segmenter)
    scores = mask_adherence(predict(reader, images, batch=READ_AT_ONCE), masks)
    return {
        "adherence": float(np.nanmean(scores)) if np.isfinite(scores).any() else None,
        "frechet": _frechet(work, reader, images, own_test(work).images),
        "dice": _dice(work, work.network(f"segmenter-{name}-{source}", Segmenter)),
        "neighbours": _neighbours(work, images),
    }


def judge_network(work: Work, name: str) -> dict[str, Any]:
    """Whether the network's error tells training slices from those of the hold-out: AUC, 0.5 is chance."""
    path = work.data / "match.npz"
    if not path.exists():
        return {"membership_auc": None, "reason": "no training patients match the hold-out's"}
    network, settings = work.network(name, generator_class(name)), work.settings["membership"]
    with np.load(path) as match:
        sides = [(work.train, match["members"]), (work.slices("holdout"), match["nonmembers"])]
    errors, kinds = [], []
    for slices, rows in sides:
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), work.given.images or len(rows))).astype(int)]
        images, masks = slices.images[rows], slices.masks[rows]
        errors.append(naive_errors(network, images, masks, seed=work.seed, **settings))
        kinds.append(slices.kinds[rows])
    every, kind = np.concatenate(errors), np.concatenate(kinds)
    for one in np.unique(kind):  # an attacker knows the scanner
        every[kind == one] -= every[kind == one].mean(axis=0)
    scores, members = -every.mean(axis=1), len(errors[0])
    return {"membership_auc": auc(scores[:members], scores[members:]), "members": members, "others": len(errors[1])}


def auc(members: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Share of the pairs in which the member's score is the higher; equal ones count half."""
    return float((members[:, None] > others).mean() + 0.5 * (members[:, None] == others).mean())


@torch.no_grad()
def naive_errors(
    network: Generator,
    images: NDArray[np.floating],
    masks: NDArray[np.uint8],
    *,
    times: list[float],
    noises: int,
    seed: int,
    batch: int,
) -> NDArray[np.float64]:
    """(N, T) mean squared errors: `naive` of :func:`evaluation.privacy.membership.signals.read_signals`, which needs more
    packages for its other signals. Arguments as there."""
    device, images = next(network.parameters()).device, 2 * to_unit(images, "attacked") - 1
    found = np.zeros((len(images), len(times)))
    for start in range(0, len(images), batch):
        rows = slice(start, start + batch)
        given = one_hot(torch.from_numpy(masks[rows])).to(device)
        shown = torch.from_numpy(images[rows])[:, None].to(device)
        for column, time in enumerate(times):
            step = round(time * (network.timesteps - 1))
            t = torch.full((len(given),), step, device=device)
            for number in range(noises):
                own = int(np.random.SeedSequence([seed, step, number]).generate_state(1, np.uint64)[0] >> 1)
                noise = torch.randn(network.noise_shape(images.shape[-1]), generator=torch.Generator().manual_seed(own))
                noise = noise.to(device).expand(len(given), *noise.shape)
                prediction, target = network.denoising_error(shown, given, t, noise)
                error = (prediction.float() - target.float()).square().mean(dim=(1, 2, 3))
                found[rows, column] += error.double().cpu().numpy() / noises
    return found


def own_test(work: Work) -> Slices:
    """Test slices with a heart, of the dataset that the generators are trained on."""
    whole = work.slices(f"test-{work.train.kinds[0].partition(' / ')[0]}")
    rows = whole.masks.any(axis=(1, 2))
    return Slices(whole.images[rows], whole.masks[rows], whole.patients[rows], whole.kinds[rows], whole.volumes[rows])


def _frechet(work: Work, reader: Segmenter, images: NDArray, real: NDArray) -> float:
    """Of features of the segmenter trained on real slices, at the smaller number of images."""
    count = min(len(images), len(real))
    rows = [np.linspace(0, len(some) - 1, count).astype(int) for some in (images, real)]
    first, second = (segmenter_features(reader, some[kept]) for some, kept in zip((images, real), rows, strict=True))
    return frechet_distance(first, second)


def _dice(work: Work, network: Segmenter) -> dict[str, float]:
    """Mean over volumes and structures, by dataset; a structure in neither counts in no mean."""
    found = {}
    for path in sorted(work.data.glob("test-*.npz")):
        test = work.slices(path.stem)
        read = predict(network, test.images, batch=READ_AT_ONCE)
        volumes = [test.volumes == volume for volume in np.unique(test.volumes)]
        scores = [dice(read[rows] == label, test.masks[rows] == label) for rows in volumes for label in STRUCTURES.values()]
        found[path.stem.removeprefix("test-")] = float(np.nanmean(scores))
    return found


def _neighbours(work: Work, images: NDArray) -> dict[str, float]:
    """By Euclidean distance over [0, 1] pixels; the share of the nearest patients that were trained on, 0.5 is chance."""
    holdout, drawn = work.slices("holdout"), to_unit(images, "judged")

    def to(slices: Slices) -> tuple[PatientDistances, NDArray[np.str_]]:
        known = to_unit(slices.images, "known")
        kinds = slices.kinds[np.unique(slices.patients, return_index=True)[1]]
        return patient_distances(drawn, known, slices.patients, distance=image_distance, block=BLOCK), kinds

    (train, of_train), (unseen, of_unseen) = to(work.train), to(holdout)
    return {
        "nn_l2": mean_nearest(train.nearest),
        "nndr_paper": ratio(train.nearest, train.second),
        "closer_to_train": closer_share(train.nearest, unseen.nearest, of_train, of_unseen),
    }
