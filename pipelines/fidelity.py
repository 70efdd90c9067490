"""Stage ``fidelity@GEN``: images made for the test masks against the test slices, one by one and as crowds."""

from pathlib import Path
from typing import Any

import numpy as np

from cmr.errors import DataError
from cmr.store import SliceStore
from evaluation.adherence import adherence_figures
from evaluation.fidelity.crowds import Crowd, against_n, crowd_figures, missing_crowd_figures
from evaluation.fidelity.paired import PAIRED, paired_figures
from evaluation.fidelity.perceptual import lpips
from evaluation.fidelity.unpaired import SEGMENTER
from evaluation.figure import Figure, Figures, to_json
from evaluation.networks.inception import InceptionFeatures
from evaluation.segmenter_features import segmenter_features
from evaluation.statistics import IntervalSettings
from mlops.settings import GeneratorsSettings, section
from mlops.tracking import record_figures
from models.checkpoint import load_network
from models.device import pick_device
from models.segmenter import Segmenter, predict
from pipelines.references import TEST, TRAIN, check_size, crowd, others, read_features, real_crowds
from pipelines.sampling import model_of
from pipelines.stage import ROOT, run, say, write_figures
from pipelines.weights import INCEPTION, explained, lpips_network, why_without

_MADE, _FULL = "made", "full"


def main(generator: str) -> None:
    real, synthetic = SliceStore.open("data/cohort/test"), SliceStore.open(f"data/sets/{generator}-test")
    images, made, masks = np.asarray(real.images), np.asarray(synthetic.images), np.asarray(real.masks)
    subjects = real.index["subject"].to_numpy()
    intervals, seed = section("evaluation", IntervalSettings), section("seed", int)
    figures = _paired(images, made, masks, subjects, intervals, seed)
    # The reader that chose the checkpoint: trained on real slices of the generators' own dataset, never on these patients.
    reader = f"segmenter/{section('generators', GeneratorsSettings).train_on[0]}-real"
    network = load_network(Path("runs") / reader, Segmenter, pick_device())
    read_made, read_images = (predict(network, of, batch=64) for of in (made, images))
    figures |= adherence_figures(read_made, read_images, masks, subjects, intervals=intervals, seed=seed)
    crowds, curves = _crowds(generator, crowd(synthetic), network, intervals, seed)
    notes = {"reader": reader, "masks": len(masks), "masks_without_structures": int((masks == 0).all(axis=(1, 2)).sum())}
    notes |= {"fid_against_n": curves}
    figures = _merged(figures, crowds)
    write_figures(f"fidelity-{generator}", generator, to_json(figures), notes, run_key=model_of(synthetic))
    record_figures(ROOT, f"fidelity-{generator}")
    known = {name: one for name, one in figures.items() if isinstance(one, Figure) and one.value is not None}
    say(f"fidelity {generator}: " + ", ".join(f"{name} {figure.value:.3f}" for name, figure in known.items()))


def _paired(
    images: np.ndarray, made: np.ndarray, masks: np.ndarray, subjects: np.ndarray, intervals: IntervalSettings, seed: int
) -> Figures:
    network = lpips_network()
    metrics = PAIRED if isinstance(network, str) else {**PAIRED, "lpips": lpips(network)}
    figures = paired_figures(images, made, masks=masks, subjects=subjects, intervals=intervals, seed=seed, metrics=metrics)
    if isinstance(network, str):
        missing = {"lpips": Figure.missing(network)}
        figures = _merged(figures, {**missing, "floor": missing})
    return figures


def _crowds(
    generator: str, made: Crowd, reader: Segmenter, intervals: IntervalSettings, seed: int
) -> tuple[Figures, dict[str, Any]]:
    """The figures by both networks, and the curves of FID against the number of images."""
    real = real_crowds(seed)
    drawn = {_MADE: made, _FULL: crowd(SliceStore.open(f"data/sets/{generator}-full"))}
    for source, one in drawn.items():
        check_size(one, real[TEST], f"the images of {generator} called '{source}'")
    drawn[_FULL] = drawn[_FULL].draw(len(real[TEST].rows), seed)

    def figures(of: dict[str, Crowd], **metrics: Any) -> Figures:
        given = (of[TEST], of[TRAIN], others(of), of[_MADE], of[_FULL])
        return crowd_figures(*given, intervals=intervals, seed=seed, **metrics)

    read = {name: Crowd(segmenter_features(reader, one.rows), one.patients) for name, one in (real | drawn).items()}
    by_reader = figures(read, metrics=SEGMENTER)
    seen = _inception(drawn)
    if isinstance(seen, str):
        return _merged(missing_crowd_figures(seen, others(real)), by_reader), {}
    seen |= read_features()
    curves = against_n(seen[TEST], {name: seen[name] for name in (_MADE, _FULL, TRAIN)}, seed)
    return _merged(figures(seen), by_reader), curves


def _inception(drawn: dict[str, Crowd]) -> dict[str, Crowd] | str:
    """Features of the generator's images, or why there are none."""
    if reason := why_without(INCEPTION):
        return reason
    try:
        network = InceptionFeatures()
    except DataError as error:
        return explained(error)
    return {name: Crowd(network(one.rows), one.patients) for name, one in drawn.items()}


def _merged(first: Figures, second: Figures) -> Figures:
    """Both trees in one, level by level."""
    both = {name for name in first if name in second}
    return {**first, **second, **{name: _merged(first[name], second[name]) for name in both}}


if __name__ == "__main__":
    run(main)
