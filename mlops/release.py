"""What may leave the house of parameters, figures and their reasons: fields that name no patient and no path of a machine.

Each function copies the fields that are listed here and nothing else. A field, figure or sentence that is new therefore stays
in the house until somebody lists it.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

Nested = Mapping[str, Any]

DRAWN, DRAWN_STEPS = "drawn.png", "drawn"
"""In the folder of a network: the picture of what it drew in the end, and the folder with one of each validation."""
FEWEST = 5
"""Patients who share a vendor, a centre or a disease, from which on its name is released."""
_SHORTEST_ID = 3
UNTOLD = "the reason is in the in-house report only"

_SECTIONS = (
    *("profile", "based_on", "seed", "phantom", "preprocess", "splits", "slices", "privacy", "train", "augment", "validation"),
    *("generators", "masks", "segmenter", "utility", "evaluation", "gate", "sweep", "tracking"),
)
_OF_DATA = ("skip_bad", "licences")
_TRAINED_WITH = ("network", "autoencoder", "train", "augment", "validation", "segmenter", "seed", "sampling")
_TEXTS = {  # settings whose values are words; all others are numbers and switches
    *("profile", "based_on", "reader", "datasets", "names", "train_on", "sources", "setups", "with_real", "real_at_size_of"),
    *("networks", "experiment", "use", "compare", "at_most", "at_least", "kind", "prediction", "optimiser", "schedule"),
    *("precision", "sampler", "metric", "objectives", "choices", "segmenter", "autoencoder", "other_limits", "condition"),
    "keep",
}
_WORD = re.compile(r"[A-Za-z0-9][\w.+-]{0,127}")
_SENTENCE = re.compile(r"[\w ,.;:'’()&+-]{1,400}")  # without slashes and @, so that no path, address or URL fits
_LABEL = re.compile(r"[\w .,&()+-]{0,60}")

_PARTS = ("value", "ci_low", "ci_high", "n")
_MASK_FIGURES = {
    *("LV", "MYO", "RV", "background", "pixel_share", "area", "roundness", "eccentricity", "solidity"),
    *("real", "generated", "floor", "p_value", "p_value_holm", "p_value_permutation", "p_value_permutation_holm", "ks_d"),
    *("present", "floor_ks_d", "floor_p_value", "floor_p_value_permutation"),
    *("validity", "components", "holes", "ring", "lv_inside", "rv_touching", "valid", "valid_share", "valid_share_real"),
    *("valid_share_first_draw", "drawn_again", "stayed_invalid", "cleaned_share"),
}
_FIDELITY_FIGURES = {
    *("ssim", "ms_ssim", "psnr", "lpips", "fid", "kid", "precision", "recall", "frechet_segmenter", "full"),
    *("mask_adherence", "mask_adherence_real", "mask_adherence_shuffled", "mask_adherence_ratio"),
    *("mask_adherence_over_shuffled", "floor_datasets"),
}
_UTILITY_FIGURES = {
    *("clinical", "paper", "dice", "iou", "hd95", "asd", "misses", "false_finds", "both_empty", "dropped"),
    *("dice_vs_real", "dice_ratio_to_real", "dice_sd_of_seeds"),
}
_PRIVACY_FIGURES = {
    *("nn_l2", "nn_l2_holdout", "nn_lpips", "nn_lpips_holdout", "nn_lpips_paper", "nn_dice", "nn_dice_holdout"),
    *("nndr", "nndr_paper", "closer_to_train", "closer_to_train_null", "closer_to_train_p_value"),
    *("closer_to_train_over_floor", "copies", "c_t", "c_t_cells", "cell", "nearer_than_holdout", "augmented"),
    *("mia_auc", "mia_auc_null", "mia_auc_blind", "mia_auc_control", "mia_tpr_at_1_fpr", "mia_tpr_at_10_fpr"),
    *("blind_datasets", "attacks", "frequency", "coarse", "naive", "pia", "blind", "auc", "tpr_at_1_fpr", "tpr_at_10_fpr"),
    *("patient", "patients", "members", "nonmembers", "slices", "test", "control"),
}
_COST_FIGURES = {"seconds_per_image", "train_seconds", "autoencoder_seconds"}
_SETS = {"full", "test", "train", "val", "holdout", "real", "and", "as", "seed", "synthetic"}
FIGURES = frozenset(_MASK_FIGURES | _FIDELITY_FIGURES | _UTILITY_FIGURES | _PRIVACY_FIGURES | _COST_FIGURES | _SETS)
"""The names that figures and groups of figures may have, beside those of datasets and generators."""

_PAPER_DATASETS = ("acdc", "mnms")  # they have figures, or reasons why not, in every run
_COUNT = r"\d+(?:\.\d+)?"
_REASONS = tuple(
    re.compile(pattern)
    for pattern in (
        r"no observations",
        r"no members or no non-members",
        r"(?:not defined: )?a ratio to 0",
        r"no interval: it needs at least \d patients",
        r"no interval: (?:a ratio to 0|not defined) for some draws of the patients",
        r"no interval: the figure is not defined when some of the patients are left out",
        r"not defined for these patients",
        r"needs at least \d patients a side",
        r"no (?:real|generated|floor|other|test) mask shows the (?:LV|MYO|RV)",
        r"no such structure in the real or the (?:generated|floor|other|test) masks",
        r"no case has this score",
        r"no floor: no other real images were given",
        r"no floor of this figure was measured",
        r"the floor pairs slices by their masks: none are known",
        r"the floor compares different patients and there is only one",
        r"\d+ images a side; needs at least \d+",
        r"masks are shuffled between patients and there are fewer than \d",
        r"one training: utility\.more_seeds repeats it with other seeds",
        r"the other trainings are compared with this one",
        r"the attack is trained by patient: it needs \d on either side",
        rf"a false-positive rate of {_COUNT}% needs \d+ non-members; there are \d+ (?:slices|patients)",
        r"its process was lost again and again: killed, or out of memory\?",
        r"needs real images of further patients \(the test set\)",
        r"needs \d+ hold-out images, and as many of these, in a cell of similar images",
    )
)
_ERROR = re.compile(r"[A-Za-z]\w*(?:Error|Exception|Interrupt|Exit)\b")
_STORES = "slices|cohort|masks|sets"
_DIGEST = re.compile(r"[0-9a-f]{6,64}(?:\.dir)?")
_WEIGHTS = "the weights of the network behind this figure were not at hand: `syncmri weights fetch`"


def params_for_release(params: Nested) -> dict[str, Any]:
    """``params.yaml`` without the places of raw data, the excluded patients and whatever is not listed above.

    Args:
        params: the whole file; the blocks of the generators that it names are kept.
    """
    generators = names_of(params.get("generators", {}), "names")
    kept = _settings(params, (*_SECTIONS, *generators))
    data = params.get("data", {})
    raw = {name: _settings(block or {}, ("reader",)) for name, block in (data.get("raw") or {}).items() if _is(_WORD, name)}
    of_data: dict[str, Any] = {"raw": raw, **_settings(data, _OF_DATA)}
    if "licences" in data:
        of_data["licences"] = {name: label(text) for name, text in data["licences"].items() if _is(_WORD, name)}
    if _is(_SENTENCE, meaning := params.get("gate", {}).get("meaning")):
        kept["gate"]["meaning"] = meaning
    return {key: of_data if key == "data" else kept[key] for key in params if key in kept or key == "data"}


def settings_for_release(settings: Nested) -> dict[str, Any]:
    """What a network was trained with (``params`` of its ``run.json``), without the patients of a positive control."""
    found = _settings(settings, _TRAINED_WITH)
    control = _settings(settings.get("control") or {}, ("slices",))
    return found | ({"control": control} if control else {})


def figures_for_release(tree: Nested, names: Collection[str]) -> dict[str, Any]:
    """A tree of figures with the listed names, of each figure its numbers and a reason that is listed.

    Args:
        tree: nested mappings with figures (``value``, ``ci_low``, ``ci_high``, ``n``, ``reason``) or counts at the leaves.
        names: the result of :func:`names_in`: branches may have them too, alone or joined to the name of a set (``ddpm-full``).
    """
    found: dict[str, Any] = {}
    for key, below in tree.items():
        if not _is_figure_name(key, names):
            continue
        if isinstance(below, Mapping):
            found[key] = figure_for_release(below) if "value" in below else figures_for_release(below, names)
        elif (count := number(below)) is not None:
            found[key] = count
    return found


def names_in(params: Nested) -> set[str]:
    """The names of datasets and generators, and of figures that a limit of the gate names, by which it is known."""
    limits = [limits for kind in ("images", "masks") for limits in (params.get("gate", {}).get(kind) or {}).values()]
    return {
        *_PAPER_DATASETS,
        *(params["data"]["raw"] or {}),
        *params["generators"]["names"],
        *(name for one in limits for name in one),
    }


def figure_for_release(figure: Nested) -> dict[str, Any]:
    """One figure: its numbers, and its reason if it has one."""
    parts = {part: number(figure[part]) for part in _PARTS if part in figure}
    return parts | ({"reason": reason_for_release(str(figure["reason"]))} if figure.get("reason") else {})


def reason_for_release(reason: str) -> str:
    """Why a figure is missing, in the words of the stage where they are listed above, else :data:`UNTOLD`."""
    if "syncmri weights fetch" in reason:
        return _WEIGHTS
    return reason if any(pattern.fullmatch(reason) for pattern in _REASONS) else UNTOLD


def error_for_release(error: str) -> str:
    """The kind of an error without its message, which may name files and patients; nothing where there was none."""
    if not error:
        return ""
    kind = _ERROR.match(error)
    return kind[0] if kind else reason_for_release(error)


def hashes_for_release(hashes: Nested, names: Collection[str]) -> dict[str, str]:
    """Store below ``data`` -> digest of its content, for stores that the pipeline writes; anything else is left out.

    Args:
        hashes: path of a store -> digest.
        names: the result of :func:`names_in`; stores have these names, alone or joined to a set's (``data/sets/ddpm-full``).
    """
    known = "|".join(re.escape(name) for name in sorted({*names, *_SETS}, key=len, reverse=True))
    store = re.compile(rf"data/(?:{_STORES})/(?:{known})(?:-(?:{known}))*")
    return {path: text for path, digest in hashes.items() if _is(store, path) and _is(_DIGEST, text := str(digest))}


def command_for_release(words: Iterable[str]) -> str:
    """Words of a command line; one that may hold a path or an address stands as ``…``."""
    return " ".join(word if re.fullmatch(r"[\w@*:.=,+-]+", word) else "…" for word in words)


def names_of(params: Nested, key: str) -> list[str]:
    """The names in a list of settings that are plain words."""
    return [name for name in params.get(key) or () if _is(_WORD, name)]


def number(value: object) -> int | float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def label(text: object) -> str:
    """A short name of a vendor, a disease, a licence or a device as it is; ``other`` where it could be a path or an address."""
    return str(text) if _is(_LABEL, str(text)) else "other"


def label_without(text: object, patients: Collection[str]) -> str:
    """:func:`label` of a text that a person or a table wrote; ``other`` too where it contains the id of a patient.

    An id of less than three characters is found in many a text that means nobody, and is not looked for; one that is a number
    only as a word, since ``H100`` is no patient 100.
    """
    words, plain = set(re.findall(r"\w+", str(text))), _joined(str(text))
    for patient in patients:
        wanted = _joined(patient)
        if len(wanted) >= _SHORTEST_ID and (wanted in words if wanted.isdecimal() else wanted in plain):
            return "other"
    return label(text)


def counts_for_release(counts: Nested, patients: Collection[str]) -> dict[str, int | float]:
    """Name -> patients, of vendors, centres and diseases; the cells of an information table, in which anything may stand.

    Names that fewer than :data:`FEWEST` patients have, and names that contain a patient's id, count as ``other``.
    """
    found: dict[str, int | float] = {}
    for name, count in counts.items():
        patients_of = number(count) or 0
        shown = label_without(name, patients) if patients_of >= FEWEST else "other"
        found[shown] = found.get(shown, 0) + patients_of
    return found


def _joined(text: str) -> str:
    """Letters and digits alone, so that ``A0S-9V9`` and ``a0s9v9`` are one."""
    return re.sub(r"[\W_]", "", text).casefold()


def _settings(values: Nested, keys: Collection[str]) -> dict[str, Any]:
    """The plain values below the given keys."""
    found = {key: _plain(value, key) for key, value in values.items() if key in keys}
    return {key: value for key, value in found.items() if value is not _PRIVATE}


_PRIVATE = object()


def _plain(value: Any, key: str) -> Any:
    """Numbers, switches and, under one of :data:`_TEXTS`, words, also in lists and mappings; :data:`_PRIVATE` for the rest."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if key in _TEXTS and _is(_WORD, value) else _PRIVATE
    if isinstance(value, Mapping):
        found = {name: _plain(below, str(name)) for name, below in value.items() if _is(_WORD, name)}
        return {name: below for name, below in found.items() if below is not _PRIVATE}
    if isinstance(value, list | tuple):
        entries = [_plain(entry, key) for entry in value]
        return _PRIVATE if any(entry is _PRIVATE for entry in entries) else entries
    return _PRIVATE


def _is_figure_name(key: str, names: Collection[str]) -> bool:
    parts = re.sub(r"(?<=\b(?:cell|seed))-\d+$", "", key).split("-")
    return key in names or all(part in FIGURES or part in names for part in parts)


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
