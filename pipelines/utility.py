"""Stage ``utility``: the figures of the utility table from the case-by-case scores of every setup."""

import pandas as pd

from evaluation.figure import to_json
from evaluation.statistics import IntervalSettings
from evaluation.utility.against_real import against_real, missing_comparisons
from evaluation.utility.scores import sd_of_seeds, summarise
from mlops.settings import DataSettings, GeneratorsSettings, section
from mlops.tracking import record_figures
from pipelines.stage import ROOT, run, say, segmenter_name, write_figures


def main() -> None:
    setups, datasets = section("utility.setups", tuple[str, ...]), list(section("data", DataSettings).raw)
    intervals, seed = section("evaluation", IntervalSettings), section("seed", int)
    # The real slices of the dataset that the generators have seen: what their images are to stand in for, on every test set.
    real = f"{section('generators', GeneratorsSettings).train_on[0]}-real"
    seeds: tuple[int | None, ...] = (None, *section("utility.more_seeds", tuple[int, ...]))
    tables = {setup: _scores(setup, seeds) for setup in setups}
    figures: dict[str, dict[str, dict]] = {setup: {} for setup in setups}
    for dataset in datasets:
        scores = {setup: table[table["test"] == dataset] for setup, table in tables.items()}
        for setup in setups:
            found = summarise(scores[setup], intervals, seed)
            found["clinical"]["dice_sd_of_seeds"] = sd_of_seeds(scores[setup])
            found["clinical"] |= (
                missing_comparisons("the other trainings are compared with this one")
                if setup == real
                else against_real(scores[setup], scores[real], intervals, seed)
            )
            figures[setup][dataset] = to_json(found)
    write_figures("utility", None, figures, {"tested_on": datasets, "compared_with": real, "seeds": len(seeds)})
    record_figures(ROOT, "utility")
    say(f"utility: {len(setups)} trainings on {len(datasets)} test sets")


def _scores(setup: str, seeds: tuple[int | None, ...]) -> pd.DataFrame:
    """The scores of all seeds, one under the other: a mean over them is the mean over the seeds too."""
    tables = [pd.read_parquet(f"data/scores/{segmenter_name(setup, seed)}.parquet").assign(seed=str(seed)) for seed in seeds]
    return pd.concat(tables, ignore_index=True)


if __name__ == "__main__":
    run(main)
