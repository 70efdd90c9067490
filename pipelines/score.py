"""Stage ``score@SETUP``: one segmenter read on every test volume of every dataset, case by case."""

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
from pipelines.stage import run, say


def main(setup: str) -> None:
    network = load_network(Path("runs/segmenter") / setup, Segmenter, pick_device())
    tables = []
    for dataset in section("data", DataSettings).raw:
        store = SliceStore.open(f"data/slices/{dataset}")
        test = store.select(store.index["split"] == "test")
        if len(test):
            read = predict(network, np.asarray(test.images), batch=64)
            tables.append(score(read, np.asarray(test.masks), test.index).assign(test=dataset))
    scores = pd.concat(tables, ignore_index=True)
    with whole_file(Path(f"data/scores/{setup}.parquet")) as temporary:
        scores.to_parquet(temporary, index=False)
    clinical = scores[scores["convention"] == "clinical"].groupby("test")["dice"].mean()
    say(f"score {setup}: clinical Dice " + ", ".join(f"{value:.3f} on {dataset}" for dataset, value in clinical.items()))


if __name__ == "__main__":
    run(main)
