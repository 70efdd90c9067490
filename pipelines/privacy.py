"""Stages ``privacy@GEN`` and ``privacy_masks``: do samples lie nearer to training patients than to patients never seen?"""

from functools import partial

import numpy as np

from cmr.store import SliceStore
from evaluation.figure import to_json
from evaluation.privacy.neighbours import Cohort, Features, NeighbourSettings, mask_neighbour_figures, neighbour_figures
from evaluation.statistics import IntervalSettings
from mlops.settings import section
from mlops.tracking import record_figures
from pipelines.sampling import model_of
from pipelines.stage import ROOT, run, say, write_figures
from pipelines.weights import lpips_network

_PAIRS_SHOWN = 12


def main(network: str) -> None:
    of_masks = network == "masks"
    path = "data/masks/full" if of_masks else f"data/sets/{network}-full"
    synthetic = SliceStore.open(path)
    compare = mask_neighbour_figures if of_masks else partial(neighbour_figures, lpips=_lpips())
    figures, pairs = compare(
        _arrays(synthetic, of_masks),
        synthetic.index["subject"].to_numpy(),
        *(_cohort(split, of_masks) for split in ("train", "holdout")),
        test=_cohort("test", of_masks),
        settings=section("privacy.neighbours", NeighbourSettings),
        intervals=section("evaluation", IntervalSettings),
        seed=section("seed", int),
    )
    notes = {"pairs": pairs.head(_PAIRS_SHOWN).to_dict("records"), "synthetic": path, "train": "data/cohort/train"}
    write_figures(f"privacy-{network}", network, to_json(figures), notes, run_key=model_of(synthetic))
    record_figures(ROOT, f"privacy-{network}")
    share, null = figures["closer_to_train"], figures["closer_to_train_null"]
    chance = f"; chance gives {null.ci_low:.0%} to {null.ci_high:.0%}" if null.ci_low is not None else ""
    say(f"privacy {network}: {share.value:.0%} lie closer to training than to hold-out{chance}")


def _lpips() -> Features | str:
    network = lpips_network()
    return network if isinstance(network, str) else network.features


def _cohort(split: str, of_masks: bool) -> Cohort:
    store = SliceStore.open(f"data/cohort/{split}")
    store = store.select(store.index["labelled"].astype(bool))
    subjects, vendors = (store.index[column].to_numpy() for column in ("subject", "vendor"))
    return Cohort(_arrays(store, of_masks), subjects, vendors)


def _arrays(store: SliceStore, of_masks: bool) -> np.ndarray:
    return np.asarray(store.masks if of_masks else store.images)


if __name__ == "__main__":
    run(main)
