"""Training sets made of others, and the utility stage with several seeds; no network."""

import json

import numpy as np
import pandas as pd
import pytest

from cmr.errors import DataError
from cmr.store import SliceStore
from evaluation.utility.scores import score
from pipelines import combine, utility
from pipelines.combine import cut_down, with_synthetic
from pipelines.stage import segmenter_name
from pipelines.validation import validation_rows
from tests.evaluation.utility.volumes import drawn_test_set


def store(patients, slices, split="train", prefix="p", **columns):
    subjects = np.repeat([f"{prefix}{patient}" for patient in range(patients)], slices)
    index = pd.DataFrame({"subject": subjects, "split": split, **columns})
    return SliceStore(np.zeros((len(index), 8, 8), np.uint8), index, np.zeros((len(index), 8, 8), np.float16))


def real(patients=10, slices=6):
    found = store(patients, slices)
    found.index.loc[found.index["subject"].isin(["p8", "p9"]), "split"] = "val"
    return found


def test_real_is_cut_to_the_nearest_number_of_whole_patients():
    found = cut_down(real(), 20, seed=0)
    trained = ~validation_rows(found)
    assert trained.sum() == 18
    assert found.index[trained].groupby("subject").size().tolist() == [6, 6, 6]
    assert set(found.index["subject"][~trained]) == {"p8", "p9"}
    assert cut_down(real(), 20, seed=0).index.equals(found.index)
    with pytest.raises(DataError, match="48 real training slices, fewer than the 49"):
        cut_down(real(), 49, seed=0)


def test_real_and_synthetic_are_chosen_on_real_slices_alone():
    synthetic = store(10, 6, generator="ddpm", seed=2**62 + 1)  # images of the real patients' masks
    found = with_synthetic(real(), synthetic)
    assert len(found) == 60 + 48
    held = validation_rows(found)
    assert held.sum() == 12
    assert set(found.index["subject"][held]) == {"p8", "p9"}
    assert not set(found.index["subject"][~held]) & {"p8", "p9"}
    assert list(found.index.columns) == ["subject", "split"]


def test_the_stage_writes_where_segment_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        "seed: 1\ngenerators: {names: [ddpm], train_on: [mnms], patients: null, sources: [acdc]}"
    )
    for path, one in {"sets/mnms-real": real(), "sets/ddpm-acdc": store(3, 6, prefix="a"), "masks/acdc": store(3, 6)}.items():
        SliceStore.write(f"data/{path}", one.index, one.masks, one.images)
    combine.main("and", "ddpm-acdc")
    combine.main("as", "acdc")
    assert len(SliceStore.open("data/sets/mnms-real-and-ddpm-acdc")) == 60 + 18
    assert (~validation_rows(SliceStore.open("data/sets/mnms-real-as-acdc"))).sum() == 18


def test_utility_against_real_over_seeds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(utility, "record_figures", lambda *_: None)
    (tmp_path / "params.yaml").write_text(
        "seed: 1\ndata: {raw: {mnms: {root: a, reader: mnms}}, skip_bad: false}\n"
        "generators: {names: [ddpm], train_on: [mnms], patients: null, sources: [full]}\n"
        "utility: {setups: [mnms-real, ddpm-full], more_seeds: [43]}\n"
        "evaluation: {bootstrap: 100, permutations: 1, confidence: 0.95}\n"
    )
    truth, index = drawn_test_set()
    (tmp_path / "data/scores").mkdir(parents=True)
    for setup, shifts in {"mnms-real": (1, 1), "ddpm-full": (4, 5)}.items():
        for seed, shift in zip((None, 43), shifts, strict=True):
            scores = score(np.roll(truth, shift, axis=2), truth, index).assign(test="mnms")
            scores.to_parquet(f"data/scores/{segmenter_name(setup, seed)}.parquet")
    utility.main()
    found = json.loads((tmp_path / "reports/figures/utility.json").read_text())["figures"]
    ours, theirs = (found[setup]["mnms"]["clinical"] for setup in ("ddpm-full", "mnms-real"))
    assert ours["dice_vs_real"]["value"] == pytest.approx(ours["dice"]["value"] - theirs["dice"]["value"])
    assert ours["dice_vs_real"]["ci_high"] < 0
    assert ours["dice"]["n"] == 36
    assert ours["dice_sd_of_seeds"]["value"] > theirs["dice_sd_of_seeds"]["value"] == 0
    assert theirs["dice_vs_real"]["value"] is None
