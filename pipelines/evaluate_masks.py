"""Stage ``evaluate_masks``: shapes and anatomy of generated masks against the training masks, with the test masks as floor."""

from cmr.store import SliceStore
from evaluation.figure import to_json
from evaluation.masks import mask_figures, measure_masks
from evaluation.statistics import IntervalSettings
from mlops.settings import section
from mlops.tracking import record_figures
from pipelines.sampling import model_of
from pipelines.stage import ROOT, run, say, write_figures


def main() -> None:
    sets = {"real": "data/cohort/train", "generated": "data/masks/full", "floor": "data/masks/test"}
    stores = {name: SliceStore.open(path) for name, path in sets.items()}
    measured = {name: measure_masks(store.masks, store.index["subject"].to_numpy()) for name, store in stores.items()}
    figures = to_json(mask_figures(**measured, intervals=section("evaluation", IntervalSettings), seed=section("seed", int)))
    write_figures("masks", "masks", figures, run_key=model_of(stores["generated"]))
    record_figures(ROOT, "masks")
    generated, real = (figures[name]["value"] for name in ("valid_share", "valid_share_real"))
    say(f"evaluate_masks: {generated:.0%} of the generated masks are anatomically valid, {real:.0%} of the real")


if __name__ == "__main__":
    run(main)
