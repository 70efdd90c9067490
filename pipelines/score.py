"""Stages ``score@SETUP`` and ``score_again@SETUP-SEED``: one segmenter read on every test volume, case by case."""

from pathlib import Path

import numpy as np
import pandas as pd

from cmr.files import whole_file
from cmr.store import SliceStore
from evaluation.utility.scores import score
from mlops.settings import DataSettings, section
from models.checkpoint import load_network
from models.device import pick_device
from models.segmenter import Segmenter, predict
from pipelines.stage import run, say, segmenter_name


def main(setup: str, seed: str | None = None) -> None:
    name = segmenter_name(setup, seed)
    network = load_network(Path("runs/segmenter") / name, Segmenter, pick_device())
    tables = []
    for dataset in section("data", DataSettings).raw:
        store = SliceStore.open(f"data/slices/{dataset}")
        test = store.select(store.index["split"] == "test")
        if len(test):
            read = predict(network, np.asarray(test.images), batch=64)
            tables.append(score(read, np.asarray(test.masks), test.index).assign(test=dataset))
    scores = pd.concat(tables, ignore_index=True)
    with whole_file(Path(f"data/scores/{name}.parquet")) as temporary:
        scores.to_parquet(temporary, index=False)
    clinical = scores[scores["convention"] == "clinical"].groupby("test")["dice"].mean()
    say(f"score {name}: clinical Dice " + ", ".join(f"{value:.3f} on {dataset}" for dataset, value in clinical.items()))


if __name__ == "__main__":
    run(main)
