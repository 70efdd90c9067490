"""reports/metrics.json: every name that others rely on (design §8), each with a figure or with the reason why there is none."""

from typing import Any

from cmr.labels import STRUCTURES
from pipelines.reporting.names import CLINICAL, FIDELITY, FIDELITY_EXTRA, MASK_FEATURES, PRIVACY, SPLITS
from pipelines.reporting.project import PAPER_DATASETS, Project, Stage

Nested = dict[str, Any]

_LATER = {
    "lpips": "needs the LPIPS weights (VGG16)",
    "nn_lpips": "needs the LPIPS weights (VGG16)",
    "fid": "needs the Inception weights",
    "kid": "needs the Inception weights",
    "precision": "needs the Inception weights",
    "recall": "needs the Inception weights",
    **{name: "membership inference is not part of this version" for name in PRIVACY if name.startswith("mia_")},
}


def missing(reason: str) -> Nested:
    """A figure that is not there, and why."""
    return {"value": None, "reason": reason}


def gather(project: Project) -> Nested:
    """All figures of the project, nested as in design §8.

    A figure is ``{"value", "ci_low", "ci_high", "n"}`` or ``{"value": None, "reason"}``; ``data`` holds plain counts.
    Names that the stages add beyond §8 (floors, single structures) are kept.
    """
    generators = project.generators
    return {
        "data": _data(project),
        "masks": _masks(project),
        "fidelity": {
            name: _one(project, f"fidelity-{name}", f"fidelity@{name}", [*FIDELITY, *FIDELITY_EXTRA]) for name in generators
        },
        "utility": _utility(project),
        "privacy": {
            **{name: _one(project, f"privacy-{name}", f"privacy@{name}", _privacy_names("nn_dice")) for name in generators},
            "masks": _one(project, "privacy-masks", "privacy of the masks", _privacy_names("nn_lpips")),
        },
    }


def setups(project: Project) -> list[str]:
    """The utility setups of design §8 for the configured generators, then any further ones of ``utility.setups``."""
    known = [f"{dataset}-real" for dataset in PAPER_DATASETS]
    known += [f"{name}-{source}" for name in project.generators for source in ("full", *PAPER_DATASETS)]
    return [*known, *(setup for setup in project.params["utility"]["setups"] if setup not in known)]


def _privacy_names(other: str) -> list[str]:
    return [name for name in PRIVACY if name != other]


def _data(project: Project) -> Nested:
    counts: Nested = {dataset: _split_counts(project, dataset) for dataset in project.all_datasets}
    reports = (project.ingest_report(dataset) or {} for dataset in project.datasets)
    counts["duplicates"] = [list(pair) for report in reports for pair in report.get("duplicates", [])]
    return counts


def _split_counts(project: Project, dataset: str) -> Nested:
    store = project.store(f"slices/{dataset}") if dataset in project.datasets else None
    if store is None:
        gap = missing(f"no data: {no_data(project, dataset)}")
        return {split: {"patients": gap, "slices": gap} for split in SPLITS}
    labelled = store.index[store.index["labelled"].astype(bool)]
    by_split = {split: labelled[labelled["split"] == split] for split in SPLITS}
    return {split: {"patients": int(rows["subject"].nunique()), "slices": len(rows)} for split, rows in by_split.items()}


def no_data(project: Project, dataset: str) -> str:
    """Why a dataset has no figures, in words."""
    if dataset not in project.datasets:
        return f"{dataset} was left out of this run (`data.raw` in params.yaml)"
    return f"the stage slices@{dataset} has not run"


def _masks(project: Project) -> Nested:
    stage = project.stage("masks")
    why = "no figures: the stage evaluate_masks has not run" if stage is None else "the stage evaluate_masks did not give it"
    parts = ("real", "generated", "p_value", "ks_d")
    names: Nested = {
        structure: {feature: {part: missing(why) for part in parts} for feature in MASK_FEATURES} for structure in STRUCTURES
    }
    return _merge({**names, "valid_share": missing(why)}, (stage or Stage()).figures)


def _one(project: Project, file: str, stage_name: str, names: list[str]) -> Nested:
    stage = project.stage(file)
    why = f"no figures: the stage {stage_name} has not run" if stage is None else f"the stage {stage_name} did not give it"
    reasons = {name: f"not computed by this version: {_LATER[name]}" if name in _LATER else why for name in names}
    return _merge({name: missing(reason) for name, reason in reasons.items()}, (stage or Stage()).figures)


def _utility(project: Project) -> Nested:
    stage = project.stage("utility")
    names: Nested = {}
    for setup in setups(project):
        names[setup] = {}
        for test_set in project.all_datasets:
            gap = missing(_why_no_utility(project, stage is not None, setup, test_set))
            names[setup][test_set] = {convention: dict.fromkeys(CLINICAL, gap) for convention in ("clinical", "paper")}
    return _merge(names, (stage or Stage()).figures)


def _why_no_utility(project: Project, ran: bool, setup: str, test_set: str) -> str:
    left_out = [name for name in (test_set, setup.rpartition("-")[0], setup.rpartition("-")[2]) if name in PAPER_DATASETS]
    left_out = [name for name in left_out if name not in project.datasets]
    if left_out:
        return f"no data: {no_data(project, left_out[0])}"
    if setup not in project.params["utility"]["setups"]:
        return f"not run: {setup} is not among `utility.setups` in params.yaml"
    return "the stage utility did not give it" if ran else "no figures: the stage utility has not run"


def _merge(names: Nested, figures: Nested) -> Nested:
    """``figures`` over ``names``, level by level; a figure replaces a figure as a whole."""
    merged = dict(names)
    for key, value in figures.items():
        below = merged.get(key)
        nested = isinstance(value, dict) and "value" not in value and isinstance(below, dict) and "value" not in below
        merged[key] = _merge(below, value) if nested and isinstance(below, dict) else value
    return merged
