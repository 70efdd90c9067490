"""reports/metrics.json: every name that others rely on (design §8), each with a figure or with the reason why there is none."""

from typing import Any

from cmr.labels import STRUCTURES
from pipelines.reporting.names import AGAINST_REAL, CLINICAL, FIDELITY, FIDELITY_EXTRA, MASK_FEATURES, PRIVACY, SPLITS, UNPAIRED
from pipelines.reporting.source import PAPER_DATASETS, ReportSource, Stage

Nested = dict[str, Any]


def missing(reason: str) -> Nested:
    """A figure that is not there, and why."""
    return {"value": None, "reason": reason}


def gather(project: ReportSource) -> Nested:
    """All figures of the project, nested as in design §8, without the names of patients that are in-house (`data.duplicates`).

    A figure is ``{"value", "ci_low", "ci_high", "n"}`` or ``{"value": None, "reason"}``; ``data`` holds plain counts.
    Names that the stages add beyond §8 (floors, single structures) are kept.
    """
    generators = project.generators
    return {
        "data": {dataset: _split_counts(project, dataset) for dataset in project.all_datasets},
        "masks": _masks(project),
        "fidelity": {name: _fidelity(project, name) for name in generators},
        "utility": _utility(project),
        "privacy": {
            **{name: _privacy(project, name, f"privacy@{name}", f"membership@{name}", "nn_dice") for name in generators},
            "masks": _privacy(project, "masks", "privacy of the masks", "membership_masks", "nn_lpips"),
        },
        "cost": {name: _cost(project, name) for name in [*generators, "masks"]},
    }


def setups(project: ReportSource) -> list[str]:
    """The utility setups of design §8 for the configured generators, then any further ones of ``utility.setups``."""
    known = [f"{dataset}-real" for dataset in PAPER_DATASETS]
    known += [f"{name}-{source}" for name in project.generators for source in ("full", *PAPER_DATASETS)]
    return [*known, *(setup for setup in project.params["utility"]["setups"] if setup not in known)]


def _fidelity(project: ReportSource, name: str) -> Nested:
    file, stage_name = f"fidelity-{name}", f"fidelity@{name}"
    full = dict.fromkeys(UNPAIRED, missing(_why_not(project.stage(file), stage_name)))
    return _merge({"full": full}, _one(project, file, stage_name, [*FIDELITY, *FIDELITY_EXTRA]))


def _privacy(project: ReportSource, name: str, neighbours: str, attack: str, other: str) -> Nested:
    """Nearest neighbours and membership of one network, which are two stages; ``other``: the distance it does not have."""
    of_attack = [key for key in PRIVACY if key.startswith(("mia_", "blind_"))]
    of_neighbours = [key for key in PRIVACY if key not in (*of_attack, other)]
    near = _one(project, f"privacy-{name}", neighbours, of_neighbours)
    return near | _one(project, f"membership-{name}", attack, of_attack)


def _split_counts(project: ReportSource, dataset: str) -> Nested:
    counts = project.split_counts(dataset)
    if counts is None:
        gap = missing(f"no data: {no_data(project, dataset)}")
        return {split: {"patients": gap, "slices": gap} for split in SPLITS}
    return {split: dict(of_split) for split, of_split in counts.items()}


def no_data(project: ReportSource, dataset: str) -> str:
    """Why a dataset has no figures, in words."""
    if dataset not in project.datasets:
        return f"{dataset} was left out of this run (`data.raw` in params.yaml)"
    return f"the stage slices@{dataset} has not run"


def _masks(project: ReportSource) -> Nested:
    stage = project.stage("masks")
    why = "no figures: the stage evaluate_masks has not run" if stage is None else "the stage evaluate_masks did not give it"
    parts = ("real", "generated", "p_value", "ks_d")
    names: Nested = {
        structure: {feature: {part: missing(why) for part in parts} for feature in MASK_FEATURES} for structure in STRUCTURES
    }
    return _merge({**names, "valid_share": missing(why)}, (stage or Stage()).figures)


def _one(project: ReportSource, file: str, stage_name: str, names: list[str]) -> Nested:
    stage = project.stage(file)
    gap = missing(_why_not(stage, stage_name))
    return _merge(dict.fromkeys(names, gap), (stage or Stage()).figures)


def _why_not(stage: Stage | None, stage_name: str) -> str:
    return f"no figures: the stage {stage_name} has not run" if stage is None else f"the stage {stage_name} did not give it"


def _cost(project: ReportSource, name: str) -> Nested:
    """What a model cost: seconds of training, of its autoencoder's where it has one, and seconds an image (or mask) drawn."""
    parts = {"train_seconds": name}
    if name in project.latent_generators:
        parts["autoencoder_seconds"] = f"autoencoder/{name}"
    cost: Nested = {}
    for key, trained in parts.items():
        network = project.network(trained)
        seconds = network.record.get("seconds") if network else None
        plain = {"value": seconds, "ci_low": None, "ci_high": None, "n": 1}
        cost[key] = missing(f"no training of {trained} is recorded") if seconds is None else plain
    sources = ["full"] if name == "masks" else project.params["generators"]["sources"]
    stages = {source: project.stage(f"sampling-{name}-{source}") for source in sources}
    speeds = [stage.figures[source]["seconds_per_image"] for source, stage in stages.items() if stage]
    drawn = sum(speed["n"] for speed in speeds)
    cost["seconds_per_image"] = (
        {"value": sum(speed["value"] * speed["n"] for speed in speeds) / drawn, "ci_low": None, "ci_high": None, "n": drawn}
        if drawn
        else missing("no figures: sampling has not run")
    )
    return cost


def _utility(project: ReportSource) -> Nested:
    stage = project.stage("utility")
    names: Nested = {}
    for setup in setups(project):
        names[setup] = {}
        for test_set in project.all_datasets:
            gap = missing(_why_no_utility(project, stage is not None, setup, test_set))
            names[setup][test_set] = {convention: dict.fromkeys(CLINICAL, gap) for convention in ("clinical", "paper")}
            names[setup][test_set]["clinical"] |= dict.fromkeys(AGAINST_REAL, gap)
    return _merge(names, (stage or Stage()).figures)


def _why_no_utility(project: ReportSource, ran: bool, setup: str, test_set: str) -> str:
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
