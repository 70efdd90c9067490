"""Sets of images or masks from anywhere against one another: what ``syncmri evaluate`` computes, without a pipeline.

The figures are those of the pipeline's stages, from the same functions. A network whose weights cannot be had costs its own
figures, which then say so, and no others.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from cmr.errors import DataError
from cmr.folder import ImageSet
from cmr.geometry import difference
from cmr.patients import PATIENTS
from evaluation.figure import Figure, Figures
from evaluation.statistics import IntervalSettings
from evaluation.utility.clinical import score_volumes, whole_volumes

INTERVALS = IntervalSettings(bootstrap=2000, permutations=2000, confidence=0.95)
SEED = 42
SMALLEST = 16  # pixels, of the networks behind LPIPS
PAIRS_TOLD = 12


@dataclass(frozen=True)
class Evaluated:
    """Figures, what they rest on in sentences, and the closest pairs of a neighbour search."""

    figures: Figures
    notes: list[str]
    pairs: list[dict[str, Any]] = field(default_factory=list)


def evaluate_fidelity(real: ImageSet, synthetic: ImageSet, floor: ImageSet | None = None) -> Evaluated:
    """Synthetic against real images: paired metrics where the sets are paired, and FID, KID, precision and recall.

    They are paired if both have the same masks, row by row, or, of folders, the same file names.

    Args:
        floor: further real images, of other patients, for the floor of the unpaired metrics.

    Raises:
        DataError: sets that cannot be compared.
    """
    sets = {"real": real, "synthetic": synthetic} | ({"floor": floor} if floor else {})
    check_comparable(*sets.values())
    unpaired = _why_not_paired(real, synthetic)
    how = f"not paired: {unpaired}" if unpaired else "paired: image by image"
    figures = _merged(_paired(real, synthetic, unpaired), _crowds(sets))
    return Evaluated(figures, [*_notes(*sets.values()), how])


def evaluate_privacy(synthetic: ImageSet, train: ImageSet, holdout: ImageSet, test: ImageSet | None = None) -> Evaluated:
    """Do synthetic images lie nearer to what a generator was trained on than to real images that it has not seen?

    Args:
        holdout: real images of other patients of the same kind, never shown to the generator.
        test: real images of yet other patients, for the floors.

    Raises:
        DataError: sets that cannot be compared, a patient in two of the real ones.
    """
    from evaluation.networks.lpips import LpipsNetwork
    from evaluation.privacy.neighbours import Cohort, NeighbourSettings, neighbour_figures

    real = {"train": train, "holdout": holdout} | ({"test": test} if test else {})
    check_comparable(synthetic, *real.values())
    _refuse_shared_patients(list(real.values()))
    cohorts = {name: Cohort(_images(one), one.subjects, one.index["vendor"].to_numpy(dtype=str)) for name, one in real.items()}
    try:
        lpips: Any = LpipsNetwork().features
    except DataError as error:
        lpips = _reason(error)
    figures, pairs = neighbour_figures(
        _images(synthetic),
        synthetic.subjects,
        cohorts["train"],
        cohorts["holdout"],
        test=cohorts.get("test"),
        lpips=lpips,
        settings=NeighbourSettings(block=512),
        intervals=INTERVALS,
        seed=SEED,
    )
    closest = [
        {
            "synthetic": synthetic.index["name"].iloc[row["synthetic"]],
            "train": train.index["name"].iloc[row["train"]],
            "holdout": holdout.index["name"].iloc[row["holdout"]],
            "train_distance": row["train_distance"],
            "holdout_distance": row["holdout_distance"],
        }
        for row in pairs.head(PAIRS_TOLD).to_dict("records")
    ]
    return Evaluated(figures, _notes(synthetic, *real.values()), closest)


def evaluate_masks(real: ImageSet, synthetic: ImageSet, floor: ImageSet | None = None) -> Evaluated:
    """Shapes and anatomy of synthetic masks against those of real ones.

    Args:
        floor: further real masks, of other patients.

    Raises:
        DataError: sets that cannot be compared.
    """
    from evaluation.masks import mask_figures, measure_masks

    sets = {"real": real, "synthetic": synthetic} | ({"floor": floor} if floor else {})
    check_comparable(*sets.values(), masks=True)
    measured = {name: measure_masks(_masks(one), one.subjects) for name, one in sets.items()}
    figures = mask_figures(measured["real"], measured["synthetic"], measured.get("floor"), intervals=INTERVALS, seed=SEED)
    return Evaluated(figures, _notes(*sets.values()))


def evaluate_utility(predicted: ImageSet, truth: ImageSet) -> Evaluated:
    """A segmenter's masks against the true ones: by volume (``clinical``) where the slices make volumes, and by slice.

    Raises:
        DataError: sets that cannot be compared, or not mask by mask.
    """
    from evaluation.utility.case import METRICS
    from evaluation.utility.paper import score_slices
    from evaluation.utility.scores import summarise

    check_comparable(predicted, truth, masks=True)
    if len(predicted.index) != len(truth.index):
        raise DataError(
            f"{predicted.path}: {len(predicted.index)} masks for the {len(truth.index)} of {truth.path}; expected one each"
        )
    named = [set(one.index["name"]) for one in (predicted, truth)]
    if named[0] != named[1] and not any("row 0" in names for names in named):
        odd = sorted(named[0] ^ named[1])
        raise DataError(
            f"{predicted.path} and {truth.path}: {len(odd)} names are not in both (first: {odd[0]}); expected the same"
        )
    _refuse_other_grids(predicted, truth)
    index = truth.index.assign(labelled=truth.index.get("labelled", True))
    volumes, left_out, without = whole_volumes(index)
    masks, true = _masks(predicted), _masks(truth)
    place = index.assign(**{name: index.get(name, "") for name in ("phase", "slice")})
    scores = score_slices(masks, true, place)
    if volumes.any():
        whole = score_volumes(masks[volumes], true[volumes], index[volumes])
        scores = pd.concat([whole, scores], ignore_index=True)
    figures = summarise(scores, INTERVALS, SEED)
    if without:
        figures["clinical"] = dict.fromkeys(METRICS, Figure.missing(without))
    return Evaluated(figures, [*_notes(predicted, truth), *left_out])


def _refuse_other_grids(predicted: ImageSet, truth: ImageSet) -> None:
    for name in predicted.grids.keys() & truth.grids.keys():
        found, expected = predicted.grids[name], truth.grids[name]
        if found.shape == expected.shape and (reason := difference(expected, found)):
            raise DataError(
                f"{predicted.path}: {name} doesn't lie on its namesake in {truth.path}: {reason}. The prediction has {found}; "
                f"the truth has {expected}. Save predictions with the header of their image, or resample them to the truth."
            )


def check_comparable(*sets: ImageSet, masks: bool = False) -> None:
    """That figures of these sets, images or masks, would mean something.

    Raises:
        DataError: images of different sizes or, where both are known, of different pixel sizes; images that are too small, or
            whose values do not fill the range [-1, 1].
    """
    first = sets[0]
    for one in sets:
        shape, expected = ((_masks(of) if masks else _images(of)).shape[1:] for of in (one, first))
        if shape != expected:
            raise DataError(
                f"{one.path}: {shape[0]} × {shape[1]} pixels; {first.path} has {expected[0]} × {expected[1]}: expected one size"
            )
        if one.pixel_mm and first.pixel_mm and not np.allclose(one.pixel_mm, first.pixel_mm, rtol=0.01):
            raise DataError(
                f"{one.path}: pixels of {one.pixel_mm[0]:g} × {one.pixel_mm[1]:g} mm; {first.path} has {first.pixel_mm[0]:g} × "
                f"{first.pixel_mm[1]:g} mm: expected one pixel size: resample the images"
            )
        if not masks:
            _check_values(one)


def _refuse_shared_patients(sets: list[ImageSet]) -> None:
    for one, other in itertools.combinations(sets, 2):
        if len(both := np.intersect1d(one.subjects, other.subjects)):
            listed = ", ".join(both[:PAIRS_TOLD])
            raise DataError(
                f"{one.path} and {other.path}: the patients {listed} are in both; expected different ones. If they are "
                f"different people under one name, list the files of each folder in {PATIENTS} (file,patient); if not, take "
                "them out of one."
            )


def _check_values(one: ImageSet) -> None:
    images = _images(one)
    if min(images.shape[1:]) < SMALLEST:
        raise DataError(f"{one.path}: {images.shape[1]} × {images.shape[2]} pixels; expected at least {SMALLEST}")
    low, high = float(images.min()), float(images.max())
    if low > -0.5 or high < 0.5:
        raise DataError(
            f"{one.path}: values from {low:.3g} to {high:.3g}, black being -1 and white 1; expected images that use that "
            "range. Write PNG with the whole range of its type, a store with values in [-1, 1]"
        )


def _why_not_paired(real: ImageSet, synthetic: ImageSet) -> str:
    if len(real.index) != len(synthetic.index):
        return f"{len(real.index)} real and {len(synthetic.index)} synthetic images"
    if real.masks is not None and synthetic.masks is not None:
        return "" if np.array_equal(real.masks, synthetic.masks) else "their masks differ"
    return "" if real.index["name"].tolist() == synthetic.index["name"].tolist() else "their file names differ"


def _paired(real: ImageSet, synthetic: ImageSet, unpaired: str) -> Figures:
    from evaluation.fidelity.paired import PAIRED, paired_figures
    from evaluation.fidelity.perceptual import lpips
    from evaluation.networks.lpips import LpipsNetwork

    if unpaired:
        none = dict.fromkeys([*PAIRED, "lpips"], Figure.missing(unpaired))
        return {**none, "floor": none}
    metrics, missing = dict(PAIRED), {}
    try:
        metrics["lpips"] = lpips(LpipsNetwork())
    except DataError as error:
        missing["lpips"] = Figure.missing(_reason(error))
    how: dict[str, Any] = {"masks": real.masks, "subjects": real.subjects, "intervals": INTERVALS, "seed": SEED}
    found = paired_figures(_images(real), _images(synthetic), **how, metrics=metrics)
    return _merged(found, {**missing, "floor": missing})


def _crowds(sets: dict[str, ImageSet]) -> Figures:
    from evaluation.fidelity.unpaired import missing_figures, unpaired_figures
    from evaluation.networks.inception import InceptionFeatures

    try:
        network = InceptionFeatures()
    except DataError as error:
        return missing_figures(_reason(error))
    features = {name: network(_images(one)) for name, one in sets.items()}
    return unpaired_figures(
        features["real"],
        features["synthetic"],
        real_patients=sets["real"].subjects,
        synthetic_patients=sets["synthetic"].subjects,
        floor=features.get("floor"),
        floor_patients=sets["floor"].subjects if "floor" in sets else None,
        intervals=INTERVALS,
        seed=SEED,
    )


def _reason(error: DataError) -> str:
    return getattr(error, "summary", str(error))


def _merged(first: Figures, second: Figures) -> Figures:
    return {**first, **second, "floor": {**first["floor"], **second["floor"]}}


def _images(one: ImageSet) -> Any:
    if one.images is None:
        raise DataError(f"{one.path}: holds masks and no images; images are needed here")
    return one.images


def _masks(one: ImageSet) -> Any:
    if one.masks is None:
        raise DataError(f"{one.path}: holds images and no masks; masks are needed here")
    return one.masks


def _notes(*sets: ImageSet) -> list[str]:
    counts = [f"{one.path}: {len(one.index)} of {np.unique(one.subjects).size} patients" for one in sets]
    return [*counts, *dict.fromkeys(note for one in sets for note in one.notes)]
