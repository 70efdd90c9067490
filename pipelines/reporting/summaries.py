"""One page a model: its main figures on each axis, the gate's verdicts, what it cost and what it must not be used for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlops.gate import MASKS, Verdict, figures_of, judge, passes
from pipelines.reporting.cells import Cell, Column, Table, figure, number, text
from pipelines.reporting.data_tables import duration
from pipelines.reporting.metrics import missing
from pipelines.reporting.names import (
    AGAINST_REAL,
    CLINICAL,
    FIDELITY,
    FIDELITY_EXTRA,
    MASK_FEATURES,
    PRIVACY,
    PRIVACY_EXTRA,
    SHARE,
    STRUCTURE_NAMES,
    Metric,
    dataset_name,
    listed,
    network_name,
    setup_name,
)
from pipelines.reporting.source import ReportSource
from pipelines.reporting.tables import metric_label, shared_floor

Nested = dict[str, Any]
Row = tuple[Metric, Nested | None, Nested | None, str]  # metric, figure, its yardstick, what the yardstick is

AXES = {"masks": "Masks", "fidelity": "Fidelity", "utility": "Utility", "privacy": "Privacy"}
_WORDS = {"pass": "kept", "fail": "not kept", "missing": "missing"}
_ANATOMY = {f"{structure}_{key}": (structure, metric) for structure in STRUCTURE_NAMES for key, metric in MASK_FEATURES.items()}


@dataclass(frozen=True)
class Summary:
    """One model on a page.

    Attributes:
        passed: whether the gate's limits are all kept; ``verdict`` says so in a sentence.
        figures, gate: the main figures beside their yardsticks; the verdict on each limit.
        cost: sentences.
        caution: what it must not be used for, in sentences.
    """

    key: str
    name: str
    passed: bool
    verdict: str
    meaning: str
    figures: Table
    gate: Table
    verdicts: list[Verdict]
    cost: list[str]
    caution: list[str]


def summarise(project: ReportSource, metrics: Nested) -> list[Summary]:
    """A page for each generator, then one for the mask model.

    Raises:
        DataError: the gate's settings cannot be used.
    """
    return [_summary(project, metrics, model) for model in [*project.generators, MASKS]]


def _summary(project: ReportSource, metrics: Nested, model: str) -> Summary:
    verdicts = judge(figures_of(metrics, model, project.params["generators"]["train_on"][0]), project.gate.of(model))
    rows = _mask_rows(metrics) if model == MASKS else _image_rows(project, metrics, model)
    return Summary(
        key=model,
        name=network_name(model),
        passed=passes(verdicts),
        verdict=_sentence(verdicts),
        meaning=project.gate.meaning,
        figures=_figures_table(network_name(model), rows),
        gate=gate_table(network_name(model), verdicts),
        verdicts=verdicts,
        cost=list(_cost(project, metrics, model)),
        caution=_caution(project, model, passes(verdicts)),
    )


def gate_table(name: str, verdicts: list[Verdict]) -> Table:
    """Each limit of the gate with the figure, the number that was compared, and the verdict."""
    rows: list[list[Cell]] = []
    for axis in dict.fromkeys(verdict.axis for verdict in verdicts):
        rows.append([text(AXES[axis], "axis")])
        rows += [_verdict_row(verdict) for verdict in verdicts if verdict.axis == axis]
    columns = [Column("Limit"), Column("Bound"), Column("Figure", "with interval"), Column("Compared"), Column("Verdict")]
    caption = (
        f"{name}: the limits of the gate. Compared is the end of the interval that speaks against the model, or, where the "
        "limit says so, the other end or the value itself; a missing figure is a refusal."
    )
    return Table(caption, columns, rows)


def _verdict_row(verdict: Verdict) -> list[Cell]:
    name, metric = metric_of(verdict.axis, verdict.name)
    bound = "–" if verdict.bound is None else number(verdict.bound, metric)
    other = metric_of(verdict.axis, verdict.limit.bound)[0] if isinstance(verdict.limit.bound, str) else ""
    upper = (verdict.limit.compare == "worst") == (verdict.limit.at_least is None)
    part = "value" if verdict.limit.compare == "value" else f"{'upper' if upper else 'lower'} end"
    compared = "–" if verdict.compared is None else number(verdict.compared, metric)
    return [
        Cell(name, interval=metric.unit, kind="label"),
        Cell(f"{verdict.limit.sign} {bound}", interval=other),
        figure(verdict.figure or missing(verdict.reason), metric),
        Cell(compared, interval=part),
        Cell(_WORDS[verdict.outcome], reason=verdict.reason, kind=f"verdict {verdict.outcome}"),
    ]


def metric_of(axis: str, key: str) -> tuple[str, Metric]:
    """What a figure that a limit names is called in full, and how it is shown."""
    if axis == "utility":
        source, _, rest = key.partition("_")
        if metric := {**CLINICAL, **AGAINST_REAL}.get(rest):
            return f"{setup_name(f'-{source}').removeprefix(' · ')}: {metric.name}", metric
    if axis == "masks":
        if key.startswith("valid_share"):
            return "Valid masks" + key.removeprefix("valid_share").replace("_", " "), SHARE
        structure, metric = _ANATOMY.get(key.rpartition("_")[0], ("", Metric(key, digits=3)))
        return (f"{structure} {metric.name}, {key.rpartition('_')[2]}" if structure else key), metric
    known = {**FIDELITY, **FIDELITY_EXTRA, **PRIVACY, **PRIVACY_EXTRA}
    metric = known.get(key, Metric(key, digits=3))
    if not metric.name.startswith("…"):
        return metric.name, metric
    parent = max((one for one in {**FIDELITY, **PRIVACY} if key.startswith(f"{one}_")), key=len)
    return f"{known[parent].name} {metric.name}", metric


def _figures_table(name: str, rows: dict[str, list[Row]]) -> Table:
    cells: list[list[Cell]] = []
    for axis, listed_rows in rows.items():
        cells.append([text(AXES[axis], "axis")])
        for metric, value, yardstick, what in listed_rows:
            beside = figure(yardstick, metric, "floor") if yardstick else text("", "floor")
            cells.append([metric_label(metric), figure(value, metric), beside, text(what, "ideal")])
    columns = [Column("Figure"), Column("Value"), Column("Beside"), Column("What stands beside it", kind="prose")]
    return Table(f"{name}: the main figures on each axis with their intervals, and what to read them against.", columns, cells)


def _image_rows(project: ReportSource, metrics: Nested, model: str) -> dict[str, list[Row]]:
    fidelity, privacy, home = metrics["fidelity"][model], metrics["privacy"][model], project.params["generators"]["train_on"][0]
    floor, near = shared_floor(metrics["fidelity"]), privacy.get("floor", {})
    real, full = metrics["utility"].get(f"{home}-real", {}), metrics["utility"][f"{model}-full"]
    dice = CLINICAL["dice"]
    return {
        "fidelity": [
            *(
                (FIDELITY[key], fidelity.get(key), _or_why(floor, key), "real against other real")
                for key in ("kid", "fid", "ssim", "lpips")
            ),
            (FIDELITY["mask_adherence"], fidelity.get("mask_adherence"), fidelity.get("mask_adherence_real"), "real slices"),
        ],
        "utility": [
            (
                Metric(f"Dice on {dataset_name(test)} test", "trained on Full-Syn", dice.better, dice.digits),
                full[test]["clinical"]["dice"],
                real.get(test, {}).get("clinical", {}).get("dice"),
                f"trained on {setup_name(f'{home}-real')}",
            )
            for test in project.all_datasets
        ],
        "privacy": [
            (PRIVACY["nn_l2"], privacy.get("nn_l2"), _or_why(near, "nn_l2"), "hold-out patients"),
            *_shared_privacy(privacy, near),
        ],
    }


def _mask_rows(metrics: Nested) -> dict[str, list[Row]]:
    masks, privacy = metrics["masks"], metrics["privacy"][MASKS]
    near, area = privacy.get("floor", {}), MASK_FEATURES["area"]
    shapes = {structure: masks[structure]["area"] for structure in STRUCTURE_NAMES}
    return {
        "masks": [
            (
                Metric("Valid masks", SHARE.unit, SHARE.better, 1, 100),
                masks["valid_share"],
                masks.get("valid_share_real"),
                "real masks",
            ),
            *(
                (Metric(f"{name}: {area.name.lower()}", area.unit, digits=0), one["generated"], one["real"], "real masks")
                for name, one in shapes.items()
            ),
        ],
        "privacy": [
            (PRIVACY["nn_dice"], privacy.get("nn_dice"), _or_why(near, "nn_dice"), "hold-out patients"),
            *_shared_privacy(privacy, near),
        ],
    }


def _shared_privacy(privacy: Nested, floor: Nested) -> list[Row]:
    chance = privacy.get("closer_to_train_null") or missing("not given by the stage that makes the figure")
    return [
        (PRIVACY["closer_to_train"], privacy.get("closer_to_train"), chance, "by chance: other draws of the hold-out"),
        (PRIVACY["copies"], privacy.get("copies"), _or_why(floor, "copies"), "real test patients"),
        (PRIVACY["mia_auc"], privacy.get("mia_auc"), privacy.get("mia_auc_null"), "by chance: patients change sides"),
        (PRIVACY["mia_auc_blind"], privacy.get("mia_auc_blind"), None, "the pictures alone: 0.5, else void"),
        (PRIVACY["mia_auc_control"], privacy.get("mia_auc_control"), None, "a model that was made to remember: near 1"),
    ]


def _or_why(floor: Nested, key: str) -> Nested:
    return floor.get(key) or missing("no floor of this figure was measured")


def _sentence(verdicts: list[Verdict]) -> str:
    refusing = [metric_of(verdict.axis, verdict.name)[0] for verdict in verdicts if verdict.outcome != "pass"]
    if not verdicts:
        return "Refused: the gate has no limits for it."
    if not refusing:
        return f"Passes: all {len(verdicts)} limits of the gate are kept."
    return f"Refused: {len(refusing)} of {len(verdicts)} limits are not kept or cannot be checked: {listed(refusing)}."


def _cost(project: ReportSource, metrics: Nested, model: str) -> Iterator[str]:
    cost, network = metrics["cost"][model], project.network(model)
    if network is None or cost["train_seconds"]["value"] is None:
        yield "It has not been trained yet."
    else:
        record, own = network.record, cost["train_seconds"]["value"]
        first = (cost.get("autoencoder_seconds") or {}).get("value")
        before = f", and {duration(first)} for its autoencoder before" if first is not None else ""
        size = f", {record['parameters'] / 1e6:.2f} million parameters" if "parameters" in record else ""
        yield (
            f"Training: {duration(own)} (h:min:s){before}; {record.get('steps', 0)} steps{size}, on "
            f"{record.get('device', 'an unknown device')}."
        )
    one = "mask" if model == MASKS else "image"
    speed, masks = cost["seconds_per_image"], metrics["cost"][MASKS]["seconds_per_image"]
    if speed["value"] is None:
        yield f"Seconds per {one}: {speed['reason']}."
        return
    drawn = f" and {masks['value']:.3g} s for the mask that it is made for" if one == "image" and masks["value"] else ""
    yield f"Drawing: {speed['value']:.3g} s per {one}{drawn}, over {speed['n']} {one}s in batches."


def _caution(project: ReportSource, model: str, passed: bool) -> list[str]:
    trained_on = listed([dataset_name(name) for name in project.params["generators"]["train_on"]])
    size, view = project.params["slices"]["size"], project.params["slices"]["field_of_view_mm"]
    made = "Masks" if model == MASKS else "Images"
    found = [
        f"{made} must not be used for diagnosis or treatment, to measure a patient or how common a finding is, or as evidence "
        "that a medical product works.",
        f"They are single short-axis slices ({size} × {size} pixels of {view / size:.3g} mm) in the manner of {trained_on}: "
        "not whole volumes or moving hearts, and not other scanners, views or diseases.",
    ]
    if any(name in project.phantoms for name in project.params["generators"]["train_on"]):
        found.append("Trained on computer-drawn phantoms: no figure here says anything about patients.")
    if not passed:
        found.append("It is refused by the gate: do not share or serve what it makes.")
    return found
