"""Stage ``preprocess@DATASET``: bias field and in-plane resampling, cached per subject."""

from functools import partial
from pathlib import Path

import pandas as pd

from cmr.preprocess import PreprocessSettings, preprocess_dataset
from cmr.readers import READERS
from cmr.slices import SliceSettings
from mlops.cluster import wanted
from mlops.settings import DataSettings, section
from mlops.share import share
from pipelines.stage import ROOT, STATE, run, say


def main(dataset: str) -> None:
    settings, raw = section("preprocess", PreprocessSettings), section("data", DataSettings).raw[dataset]
    manifest = pd.read_parquet(f"data/manifests/{dataset}.parquet")
    listed = set(manifest.loc[manifest["duplicate_of"] == "", "subject"])
    subjects = [subject for subject in READERS[raw.reader](Path(raw.root), dataset).subjects() if subject.id in listed]
    summary = preprocess_dataset(
        subjects,
        settings,
        section("slices", SliceSettings).spacing_mm,
        out=Path("data/frames") / dataset,
        cache=STATE / "cache" / "stage1",
        each=partial(share, label="preprocess", unit="subject", root=ROOT) if wanted(ROOT) else None,
    )
    for note in summary.notes:
        say(f"warning: {note}")
    done = f"{summary.processed} subjects processed, {summary.cached} from the cache"
    say(f"preprocess {dataset}: {done}, {summary.seconds:.0f} s")


if __name__ == "__main__":
    run(main)
