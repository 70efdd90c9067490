"""Stage ``evaluate_masks``: shapes and anatomy of generated masks against the training masks, with the test masks as floor."""

from typing import Any

from cmr.store import SliceStore
from evaluation.figure import to_json
from evaluation.masks import clean_up_figures, mask_figures, measure_masks, redraw_figures
from evaluation.statistics import IntervalSettings
from mlops.settings import section
from mlops.tracking import record_figures
from pipelines.sampling import model_of
from pipelines.stage import ROOT, run, say, write_figures


def main() -> None:
    sets = {"real": "data/cohort/train", "generated": "data/masks/full", "floor": "data/masks/test"}
    stores = {name: SliceStore.open(path) for name, path in sets.items()}
    measured = {name: measure_masks(store.masks, store.index["subject"].to_numpy()) for name, store in stores.items()}
    how: dict[str, Any] = {"intervals": section("evaluation", IntervalSettings), "seed": section("seed", int)}
    found = mask_figures(measured["real"], measured["generated"], measured["floor"], **how)
    if section("masks.sampling.attempts", int) > 1:
        found |= redraw_figures(measured["generated"], stores["generated"].index["attempts"].to_numpy(), **how)
    if section("masks.sampling.clean_up", bool):
        found |= clean_up_figures(measured["generated"].subjects, stores["generated"].index["cleaned"].to_numpy(), **how)
    figures = to_json(found)
    write_figures("masks", "masks", figures, run_key=model_of(stores["generated"]))
    record_figures(ROOT, "masks")
    shares = {"real": "valid_share_real", "generated": "valid_share", "generated, first draw": "valid_share_first_draw"}
    said = [f"{figures[key]['value']:.0%} ({name})" for name, key in shares.items() if key in figures]
    say(f"evaluate_masks: anatomically valid are {', '.join(said)}")


if __name__ == "__main__":
    run(main)
