"""Stage ``fidelity@GEN``: images made for the test masks against the test slices themselves."""

from pathlib import Path

import numpy as np

from cmr.store import SliceStore
from evaluation.adherence import adherence_figures
from evaluation.fidelity.paired import paired_figures
from evaluation.figure import Figure, to_json
from evaluation.statistics import IntervalSettings
from mlops.settings import GeneratorsSettings, section
from mlops.tracking import record_figures
from models.checkpoint import load_network
from models.device import pick_device
from models.segmenter import Segmenter, predict
from pipelines.sampling import model_of
from pipelines.stage import ROOT, run, say, write_figures


def main(generator: str) -> None:
    real, synthetic = SliceStore.open("data/cohort/test"), SliceStore.open(f"data/sets/{generator}-test")
    images, made, masks = np.asarray(real.images), np.asarray(synthetic.images), np.asarray(real.masks)
    subjects = real.index["subject"].to_numpy()
    intervals, seed = section("evaluation", IntervalSettings), section("seed", int)
    figures = paired_figures(images, made, masks=masks, subjects=subjects, intervals=intervals, seed=seed)
    # The reader that chose the checkpoint: trained on real slices of the generators' own dataset, never on these patients.
    reader = f"segmenter/{section('generators', GeneratorsSettings).train_on[0]}-real"
    network = load_network(Path("runs") / reader, Segmenter, pick_device())
    read_made, read_images = (predict(network, of, batch=64) for of in (made, images))
    figures |= adherence_figures(read_made, read_images, masks, subjects, intervals=intervals, seed=seed)
    notes = {"reader": reader, "masks": len(masks), "masks_without_structures": int((masks == 0).all(axis=(1, 2)).sum())}
    write_figures(f"fidelity-{generator}", generator, to_json(figures), notes, run_key=model_of(synthetic))
    record_figures(ROOT, f"fidelity-{generator}")
    known = {name: one for name, one in figures.items() if isinstance(one, Figure) and one.value is not None}
    say(f"fidelity {generator}: " + ", ".join(f"{name} {figure.value:.3f}" for name, figure in known.items()))


if __name__ == "__main__":
    run(main)
