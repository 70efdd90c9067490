"""All figures of membership inference, and the draw of members who match the non-members."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from sklearn.base import ClassifierMixin
from sklearn.metrics import roc_auc_score

from cmr.errors import DataError
from evaluation.figure import Figure, Figures
from evaluation.privacy.membership import Signals
from evaluation.privacy.membership.attack import (
    CURVED,
    LINEAR,
    RATES,
    attack_figures,
    centred,
    check_sides,
    trained_scores,
    untrained_scores,
)
from evaluation.statistics import IntervalSettings

HEADLINE, HEADLINE_OF_MASKS = "frequency", "coarse"
"""The attack whose figures are the headline: of images the authors', so that it stands beside their Table VI; of masks, which
they do not attack, the one that finds the positive control. It is fixed here, before any network is attacked: the strongest of
several would do better than chance by chance."""

_UNTRAINED, _TRAINED = ("naive", "coarse", "pia"), ("frequency",)
_RELABELLINGS = 50  # of the patients, for the AUC of chance: the attack is trained ten times for each
STRATA = ("dataset", "vendor")
COUNTS = ("members", "nonmembers", "drawn", "member_slices", "nonmember_slices")


class NoMatchError(DataError):
    """Members and non-members have no dataset and vendor in common, so that no fair comparison can be drawn."""


@dataclass(frozen=True)
class Evidence:
    """What the attacks know of N slices of one side, members or non-members.

    Attributes:
        signals: of the network.
        blind: (N, F) features of the pictures alone, see :mod:`evaluation.privacy.membership.blind`.
        patients: (N,) patient of each slice.
        kinds: (N,) the patient's dataset and vendor, in one string: see :func:`kinds_of_slices`.
    """

    signals: Signals
    blind: NDArray[np.floating]
    patients: ArrayLike
    kinds: ArrayLike


@dataclass(frozen=True)
class Match:
    """Rows of members and non-members with as many patients of each dataset and vendor on either side.

    Attributes:
        members, nonmembers: row numbers in the two indices, ascending.
        table: one row a dataset and vendor: ``members`` and ``nonmembers`` (patients there are), ``drawn`` (patients taken from
            either), ``member_slices`` and ``nonmember_slices`` (taken).
    """

    members: NDArray[np.intp]
    nonmembers: NDArray[np.intp]
    table: pd.DataFrame


def membership_figures(
    members: Evidence, nonmembers: Evidence, *, headline: str = HEADLINE, intervals: IntervalSettings, seed: int
) -> Figures:
    """Figures of one network; of a positive control all the same, whose ``mia_auc`` is then ``mia_auc_control``.

    Returns:
        ``mia_auc``, ``mia_tpr_at_1_fpr``, ``mia_tpr_at_10_fpr`` (of the attack ``headline``, over slices), ``mia_auc_blind``;
        ``attacks.{naive, coarse, frequency, pia, blind}``, each with ``auc``, ``tpr_at_1_fpr``, ``tpr_at_10_fpr`` over slices
        and, under ``patient``, over patients; and the counts ``members.{patients, slices}``, ``nonmembers.{patients, slices}``.
        ``naive``, ``coarse`` and ``pia`` are not trained; ``frequency`` and ``blind`` are, and need 2 patients on either side.

    Raises:
        DataError: signals or features that are not finite or do not fit, signals of other time steps, a patient on both sides.
    """
    if members.signals.steps != nonmembers.signals.steps:
        raise DataError(
            f"membership: members read at {members.signals.steps}, non-members at {nonmembers.signals.steps}; "
            "read both at the same time steps"
        )
    names, kinds, is_member = _sides(members, nonmembers)
    attacks: Figures = {}
    for attack in _UNTRAINED:
        scores = untrained_scores(centred(_errors(attack, members, nonmembers), kinds))
        attacks[attack] = attack_figures(scores, is_member, names, intervals, seed)
    for attack in _TRAINED:
        attacks[attack] = _trained(_errors(attack, members, nonmembers), is_member, names, kinds, LINEAR, intervals, seed)
    looks = np.concatenate([members.blind, nonmembers.blind])
    attacks["blind"] = _trained(looks, is_member, names, kinds, CURVED, intervals, seed)
    first = {f"mia_{name}": attacks[headline][name] for name in ("auc", *RATES)}
    counts = {name: _counts(side) for name, side in (("members", members), ("nonmembers", nonmembers))}
    return {**first, "mia_auc_blind": attacks["blind"]["auc"], "attacks": attacks, **counts}


def null_auc(
    members: Evidence, nonmembers: Evidence, *, headline: str = HEADLINE, intervals: IntervalSettings, seed: int
) -> Figure:
    """What the AUC of the attack ``headline`` would be of members and others who are told apart by nothing.

    Patients change sides at random within their dataset and vendor, which leaves as many members of each, and the attack is
    made anew: unlike the interval of ``mia_auc``, this holds the chance in its training.

    Returns:
        The mean and, as interval, where a normal distribution of the same spread has the share ``intervals.confidence``.
    """
    names, kinds, is_member = _sides(members, nonmembers)
    errors = _errors(headline, members, nonmembers)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(_RELABELLINGS):
        relabelled = _relabelled(is_member, names, kinds, rng)
        scores = (
            trained_scores(errors, relabelled, names, kinds, seed, deals=1)
            if headline in _TRAINED
            else untrained_scores(centred(errors, kinds))
        )
        found.append(roc_auc_score(relabelled, scores))
    mean, half = float(np.mean(found)), float(norm.ppf((1 + intervals.confidence) / 2) * np.std(found, ddof=1))
    return Figure(mean, max(0.0, mean - half), min(1.0, mean + half), len(names))


def blind_auc(
    first: NDArray[np.floating],
    first_patients: ArrayLike,
    second: NDArray[np.floating],
    second_patients: ArrayLike,
    *,
    intervals: IntervalSettings,
    seed: int,
) -> Figure:
    """AUC of the blind attack between two sets of patients by their features (N, F): that of ACDC against M&Ms shows that the
    attack is no dud."""
    names = np.concatenate([np.asarray(patients).astype(str) for patients in (first_patients, second_patients)])
    is_first = np.arange(len(names)) < len(first)
    kinds = np.zeros(len(names))  # what the two sets differ in is what is to be told
    return _trained(np.concatenate([first, second]), is_first, names, kinds, CURVED, intervals, seed)["auc"]


def match_members(member_index: pd.DataFrame, nonmember_index: pd.DataFrame, seed: int, *, slices: int | None = None) -> Match:
    """Draws patients so that both sides have equally many of each dataset and vendor; the side with more gives some up.

    Args:
        member_index, nonmember_index: slice-store indices with ``subject``, ``dataset`` and ``vendor``.
        slices: at most so many slices of a patient, drawn at random; None: all.

    Raises:
        DataError: a patient on both sides, a patient with two vendors.
        NoMatchError: no dataset and vendor in common.
    """
    sides = [kinds_of(index, name) for index, name in ((member_index, "members"), (nonmember_index, "non-members"))]
    both = sorted(sides[0].keys() & sides[1].keys())
    if both:
        raise DataError(f"patients {both} are both members and non-members: draw the hold-out again")
    rng = np.random.default_rng(seed)
    table: list[dict[str, str | int]] = []
    rows: list[list[NDArray[np.intp]]] = [[np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)]]
    for kind in sorted({*sides[0].values(), *sides[1].values()}):
        subjects = [sorted(subject for subject, own in side.items() if own == kind) for side in sides]
        drawn = min(len(side) for side in subjects)
        taken = []
        for index, chosen in zip((member_index, nonmember_index), subjects, strict=True):
            taken.append([rows_of(index, subject, slices, rng) for subject in rng.permutation(chosen)[:drawn]])
        for side, found in zip(rows, taken, strict=True):
            side += found
        counts = (*(len(side) for side in subjects), drawn, *(sum(map(len, found)) for found in taken))
        table.append(dict(zip((*STRATA, *COUNTS), (*kind, *counts), strict=True)))
    members, nonmembers = (np.sort(np.concatenate(side)) for side in rows)
    match = Match(members, nonmembers, pd.DataFrame(table))
    if not members.size:
        raise NoMatchError(
            f"members and non-members have no dataset and vendor in common:\n{match.table.to_string(index=False)}"
        )
    return match


def _sides(members: Evidence, nonmembers: Evidence) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.bool_]]:
    """Of each slice, members' first: its patient, its kind, and whether it is a member's."""
    names, kinds = (
        np.concatenate([np.asarray(getattr(side, what)).astype(str) for side in (members, nonmembers)])
        for what in ("patients", "kinds")
    )
    return names, kinds, np.arange(len(names)) < np.size(members.patients)


def _errors(attack: str, members: Evidence, nonmembers: Evidence) -> NDArray[np.float64]:
    """What an attack reads of each slice, (N, F)."""
    read = ("frequency", "dissimilarity") if attack == "frequency" else (attack,)
    return np.concatenate([np.hstack([getattr(side.signals, one) for one in read]) for side in (members, nonmembers)])


def _relabelled(
    members: NDArray[np.bool_], names: NDArray[np.str_], kinds: NDArray[np.str_], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """(N,) other members: of each kind as many patients as there are, drawn from both sides."""
    chosen: list[NDArray[np.str_]] = []
    for kind in np.unique(kinds):
        count = np.unique(names[members & (kinds == kind)]).size
        chosen.append(rng.permutation(np.unique(names[kinds == kind]))[:count])
    return np.isin(names, np.concatenate(chosen))


def _trained(
    features: NDArray[np.floating],
    members: NDArray[np.bool_],
    names: NDArray[np.str_],
    kinds: ArrayLike,
    classifier: ClassifierMixin,
    intervals: IntervalSettings,
    seed: int,
) -> Figures:
    check_sides(members, names, len(features))
    if min(np.unique(names[side]).size for side in (members, ~members)) < 2:
        missing = dict.fromkeys(("auc", *RATES), Figure.missing("the attack is trained by patient: it needs 2 on either side"))
        return {**missing, "patient": missing}
    return attack_figures(
        trained_scores(features, members, names, kinds, seed, classifier=classifier), members, names, intervals, seed
    )


def _counts(side: Evidence) -> Figures:
    counts = {"patients": np.unique(np.asarray(side.patients).astype(str)).size, "slices": np.size(side.patients)}
    return {name: Figure(float(count), n=count) for name, count in counts.items()}


def kinds_of_slices(index: pd.DataFrame) -> NDArray[np.str_]:
    """(N,) dataset and vendor of each row of a slice-store index, in one string."""
    return index[list(STRATA)].astype(str).agg(" / ".join, axis=1).to_numpy(dtype=str)


def kinds_of(index: pd.DataFrame, name: str) -> dict[str, tuple[str, ...]]:
    """Dataset and vendor of each patient."""
    people = index[["subject", *STRATA]].astype(str).drop_duplicates()
    twice = people["subject"][people["subject"].duplicated()]
    if len(twice):
        raise DataError(f"{name}: patient {twice.iloc[0]} has more than one dataset or vendor")
    return {str(subject): tuple(kind) for subject, *kind in people.itertuples(index=False)}


def rows_of(index: pd.DataFrame, subject: str, slices: int | None, rng: np.random.Generator) -> NDArray[np.intp]:
    """Row numbers of at most so many of the patient's slices, drawn at random; None: all."""
    own = np.flatnonzero(index["subject"].astype(str) == subject)
    return own if slices is None or own.size <= slices else rng.choice(own, slices, replace=False)
