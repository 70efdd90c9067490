"""Stage ``utility``: the figures of the utility table from the case-by-case scores of every setup."""

import pandas as pd

from evaluation.figure import to_json
from evaluation.statistics import IntervalSettings
from evaluation.utility.scores import summarise
from mlops.settings import DataSettings, section
from mlops.tracking import record_figures
from pipelines.stage import ROOT, run, say, write_figures


def main() -> None:
    setups, datasets = section("utility.setups", tuple[str, ...]), list(section("data", DataSettings).raw)
    intervals, seed = section("evaluation", IntervalSettings), section("seed", int)
    figures = {}
    for setup in setups:
        scores = pd.read_parquet(f"data/scores/{setup}.parquet")
        figures[setup] = {
            dataset: to_json(summarise(scores[scores["test"] == dataset], intervals, seed)) for dataset in datasets
        }
    write_figures("utility", None, figures, {"tested_on": datasets})
    record_figures(ROOT, "utility")
    say(f"utility: {len(setups)} trainings on {len(datasets)} test sets")


if __name__ == "__main__":
    run(main)
