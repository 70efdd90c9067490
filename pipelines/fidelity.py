"""Stage ``fidelity@GEN``: images made for the test masks against the test slices themselves."""

import numpy as np

from cmr.store import SliceStore
from evaluation.fidelity.paired import paired_figures
from evaluation.figure import to_json
from evaluation.statistics import IntervalSettings
from mlops.settings import section
from mlops.tracking import record_figures
from pipelines.sampling import model_of
from pipelines.stage import ROOT, run, say, write_figures


def main(generator: str) -> None:
    real, synthetic = SliceStore.open("data/cohort/test"), SliceStore.open(f"data/sets/{generator}-test")
    figures = paired_figures(
        np.asarray(real.images),
        np.asarray(synthetic.images),
        masks=real.masks,
        subjects=real.index["subject"].to_numpy(),
        intervals=section("evaluation", IntervalSettings),
        seed=section("seed", int),
    )
    write_figures(f"fidelity-{generator}", generator, to_json(figures), run_key=model_of(synthetic))
    record_figures(ROOT, f"fidelity-{generator}")
    say(
        f"fidelity {generator}: "
        + ", ".join(f"{name} {figure.value:.3f}" for name, figure in figures.items() if name != "floor")
    )


if __name__ == "__main__":
    run(main)
