"""Stages ``membership@GEN`` and ``membership_masks``: can the patients that a network was trained on be told from others?

Members are training patients, non-members the hold-out's, matched by dataset and vendor. Beside the attack on the network stand
its controls: the same without the network, the same on a network that must be found out, and the official test patients.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.store import SliceStore, concatenate
from evaluation.figure import Figure, Figures, to_json
from evaluation.privacy.membership.blind import blind_features, blind_mask_features
from evaluation.privacy.membership.control import SLICE
from evaluation.privacy.membership.figures import (
    HEADLINE,
    HEADLINE_OF_MASKS,
    Evidence,
    NoMatchError,
    blind_auc,
    kinds_of_slices,
    match_members,
    membership_figures,
    null_auc,
    rows_of,
)
from evaluation.privacy.membership.settings import MembershipSettings
from evaluation.privacy.membership.signals import read_signals
from evaluation.statistics import IntervalSettings
from mlops.settings import DataSettings, section
from mlops.tracking import record_figures
from models.base import Generator, MaskGenerator
from models.checkpoint import load_network
from models.device import pick_device
from models.masks import MaskDDPM
from models.registry import generator_class
from pipelines.sampling import run_key
from pipelines.stage import ROOT, run, say, write_figures

Network = Generator | MaskGenerator
_SLICES_OF_DATASETS = 8  # of a patient, where the blind attack is shown two datasets: pictures alone are cheap to read


def main(name: str) -> None:
    attack = _Attack(name)
    match, sides = attack.cohort("holdout")
    figures = {**attack.figures(*sides), "mia_auc_null": attack.chance(*sides)}
    notes: dict[str, Any] = {"match": match, "control": None}
    try:
        notes["test_match"], sides = attack.cohort("test")
        figures["test"] = attack.figures(*sides)
    except NoMatchError as error:  # official test patients may all come from other vendors
        figures["test"] = dict.fromkeys(("mia_auc", "mia_auc_blind"), Figure.missing(str(error)))
    if (folder := Path("runs/control") / name).joinpath("none.json").is_file():
        figures["mia_auc_control"] = Figure.missing(json.loads((folder / "none.json").read_text())["reason"])
    else:
        notes["control"], figures["control"] = attack.on_control(folder)
        figures["mia_auc_control"] = figures["control"]["mia_auc"]
    figures["blind_datasets"] = attack.blind_datasets()
    notes |= {"times": list(attack.settings.times), "noises": attack.settings.noises, "slices": attack.settings.slices}
    write_figures(f"membership-{name}", name, to_json(figures), notes, run_key=run_key(Path("runs") / name))
    record_figures(ROOT, f"membership-{name}")
    known = {key: figures[key].value for key in ("mia_auc", "mia_auc_blind", "mia_auc_control")}
    say(f"membership {name}: " + ", ".join(f"{key} {value:.3f}" for key, value in known.items() if value is not None))


class _Attack:
    """The one attack, on a network or on its control, whoever the members and non-members are."""

    def __init__(self, name: str):
        self.settings = section("privacy.membership", MembershipSettings)
        self._intervals, self._seed = section("evaluation", IntervalSettings), section("seed", int)
        self._headline = HEADLINE_OF_MASKS if name == "masks" else HEADLINE
        self._of_masks, self._kind = name == "masks", MaskDDPM if name == "masks" else generator_class(name)
        self._network: Network = load_network(Path("runs") / name, self._kind, pick_device())

    def cohort(self, others: str) -> tuple[list[dict[Any, Any]], tuple[Evidence, Evidence]]:
        """The table of the match, and what is known of training patients and of those of another split of the cohort."""
        train, unseen = (SliceStore.open(f"data/cohort/{split}") for split in ("train", others))
        match = match_members(train.index, unseen.index, self._seed, slices=self.settings.slices)
        sides = train.select(match.members), unseen.select(match.nonmembers)
        members, nonmembers = (self._evidence(self._network, side) for side in sides)
        return match.table.to_dict("records"), (members, nonmembers)

    def on_control(self, folder: Path) -> tuple[dict[str, Any], Figures]:
        """Who the control's members and non-members are, and the figures of the attack on it."""
        network = load_network(folder, self._kind, pick_device())
        slices = pd.read_csv(folder / "slices.csv", dtype=str, keep_default_na=False)
        members, nonmembers = (_named(slices[slices["side"] == side]) for side in ("members", "nonmembers"))
        dataset, vendor = members.index[["dataset", "vendor"]].iloc[0]
        about: dict[str, Any] = {"dataset": str(dataset), "vendor": str(vendor)}
        for side, store in (("members", members), ("nonmembers", nonmembers)):
            about[side] = {str(split): int(rows["subject"].nunique()) for split, rows in store.index.groupby("split")}
        return about, self.figures(*(self._evidence(network, side) for side in (members, nonmembers)))

    def blind_datasets(self) -> Figure:
        """The blind attack where it must succeed: on the patients of two datasets."""
        names = list(section("data", DataSettings).raw)
        if len(names) < 2:
            return Figure.missing(f"the blind attack is tried on two datasets; there is only {names[0]}")
        features, patients = [], []
        for name in names[:2]:
            store = SliceStore.open(f"data/slices/{name}")
            store = self._few(store.select(store.index["labelled"].astype(bool)), _SLICES_OF_DATASETS)
            features.append(self._blind(store))
            patients.append(np.array([f"{name}/{subject}" for subject in store.index["subject"]]))
        sides = (features[0], patients[0], features[1], patients[1])
        return blind_auc(*sides, intervals=self._intervals, seed=self._seed)

    def figures(self, members: Evidence, nonmembers: Evidence) -> Figures:
        return membership_figures(members, nonmembers, headline=self._headline, intervals=self._intervals, seed=self._seed)

    def chance(self, members: Evidence, nonmembers: Evidence) -> Figure:
        return null_auc(members, nonmembers, headline=self._headline, intervals=self._intervals, seed=self._seed)

    def _evidence(self, network: Network, store: SliceStore) -> Evidence:
        patients = store.index["subject"].to_numpy()
        return Evidence(self._signals(network, store), self._blind(store), patients, kinds_of_slices(store.index))

    def _signals(self, network: Network, store: SliceStore) -> Any:
        return read_signals(
            network,
            None if self._of_masks else np.asarray(store.images),
            np.asarray(store.masks),
            times=self.settings.times,
            noises=self.settings.noises,
            seed=self._seed,
            batch=self.settings.batch,
            precision="float32",  # members and others differ by less than bfloat16 can tell
        )

    def _blind(self, store: SliceStore) -> NDArray[np.float64]:
        return blind_mask_features(np.asarray(store.masks)) if self._of_masks else blind_features(np.asarray(store.images))

    def _few(self, store: SliceStore, slices: int) -> SliceStore:
        rng = np.random.default_rng(self._seed)
        people = sorted(store.index["subject"].astype(str).unique())
        return store.select(np.sort(np.concatenate([rows_of(store.index, one, slices, rng) for one in people])))


def _named(slices: pd.DataFrame) -> SliceStore:
    """The slices of the cohorts that a control's ``slices.csv`` names."""
    found = []
    for split, rows in slices.groupby("split"):
        store = SliceStore.open(f"data/cohort/{split}")
        wanted = pd.MultiIndex.from_frame(rows[SLICE])
        found.append(store.select(pd.MultiIndex.from_frame(store.index[SLICE].astype(str)).isin(wanted)))
    return concatenate(found)


if __name__ == "__main__":
    run(main)
