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

from cmr.store import SliceStore
from evaluation.figure import Figure, Figures, to_json
from evaluation.privacy.membership import Signals
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
from evaluation.statistics import IntervalSettings
from mlops.settings import DataSettings, section
from mlops.share import share
from mlops.tracking import record_figures
from pipelines.sampling import run_key
from pipelines.signals import Attacked, Rows, read_some
from pipelines.stage import ROOT, run, say, write_figures

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
        self._name, self._of_masks = name, name == "masks"

    def cohort(self, others: str) -> tuple[list[dict[Any, Any]], tuple[Evidence, Evidence]]:
        """The table of the match, and what is known of training patients and of those of another split of the cohort."""
        paths = [f"data/cohort/{split}" for split in ("train", others)]
        train, unseen = (SliceStore.open(path) for path in paths)
        match = match_members(train.index, unseen.index, self._seed, slices=self.settings.slices)
        sides = (Rows([side]) for side in zip(paths, (match.members, match.nonmembers), strict=True))
        members, nonmembers = (self._evidence(Path("runs") / self._name, side) for side in sides)
        return match.table.to_dict("records"), (members, nonmembers)

    def on_control(self, folder: Path) -> tuple[dict[str, Any], Figures]:
        """Who the control's members and non-members are, and the figures of the attack on it."""
        slices = pd.read_csv(folder / "slices.csv", dtype=str, keep_default_na=False)
        members, nonmembers = (_named(slices[slices["side"] == side]) for side in ("members", "nonmembers"))
        dataset, vendor = members.store().index[["dataset", "vendor"]].iloc[0]
        about: dict[str, Any] = {"dataset": str(dataset), "vendor": str(vendor)}
        for side, named in (("members", members), ("nonmembers", nonmembers)):
            about[side] = {str(split): int(rows["subject"].nunique()) for split, rows in named.store().index.groupby("split")}
        return about, self.figures(*(self._evidence(folder, side) for side in (members, nonmembers)))

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

    def _evidence(self, folder: Path, rows: Rows) -> Evidence:
        """What the attack knows of some slices: of the network in ``folder`` on them, and of them alone."""
        store = rows.store()
        patients = store.index["subject"].to_numpy()
        return Evidence(self._signals(folder, rows), self._blind(store), patients, kinds_of_slices(store.index))

    def _signals(self, folder: Path, rows: Rows) -> Signals:
        tasks = [Attacked(self._name, folder, few, self.settings, self._seed) for few in rows.few(self.settings.batch)]
        parts = share(read_some, tasks, label="membership signals", unit="batch", root=ROOT, network=True)
        return Signals.joined(parts)

    def _blind(self, store: SliceStore) -> NDArray[np.float64]:
        return blind_mask_features(np.asarray(store.masks)) if self._of_masks else blind_features(np.asarray(store.images))

    def _few(self, store: SliceStore, slices: int) -> SliceStore:
        rng = np.random.default_rng(self._seed)
        people = sorted(store.index["subject"].astype(str).unique())
        return store.select(np.sort(np.concatenate([rows_of(store.index, one, slices, rng) for one in people])))


def _named(slices: pd.DataFrame) -> Rows:
    """The slices of the cohorts that a control's ``slices.csv`` names."""
    found = []
    for split, rows in slices.groupby("split"):
        path = f"data/cohort/{split}"
        wanted, there = pd.MultiIndex.from_frame(rows[SLICE]), SliceStore.open(path).index[SLICE].astype(str)
        found.append((path, np.flatnonzero(pd.MultiIndex.from_frame(there).isin(wanted))))
    return Rows(found)


if __name__ == "__main__":
    run(main)
