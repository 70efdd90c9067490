"""Membership inference in full: every attack with its controls, who was matched with whom, and what the controls are."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.reporting.cells import Cell, Column, Figure, Table, figure, number, text
from pipelines.reporting.names import PRIVACY, Metric, dataset_name, network_name
from pipelines.reporting.source import ReportSource

Nested = dict[str, Any]

_AUC = Metric("AUC", digits=3)
_ATTACKS = {
    "frequency": "Middle frequencies and SSIM (headline of images)",
    "coarse": "Share of the error in low frequencies (headline of masks)",
    "naive": "Denoising error",
    "pia": "PIA",
    "blind": "Blind: the pictures alone",
}
_AGAINST = {"": "Training against hold-out patients", "test": "… against official test patients", "control": "Positive control"}
_GROUPS = {"network": "Network", "autoencoder": "Autoencoder", "train": "Training", "augment": "Augmentation"}
_LENGTH = ("epochs", "max_steps")  # told as the steps that were taken
_CHANCE, _FOUND = 0.5, 0.9


def verdicts(metrics: Nested) -> list[str]:
    """For each network with figures, whether its comparison is valid, in a sentence."""
    return [_verdict(name, figures) for name, figures in metrics["privacy"].items() if "attacks" in figures]


def _verdict(name: str, figures: Nested) -> str:
    blind, control = figures["mia_auc_blind"], figures["mia_auc_control"]
    metric, faults, known = PRIVACY["mia_auc"], [], []
    if blind.get("ci_low") is None:
        faults.append("the blind attack has no interval")
    elif blind["ci_low"] > _CHANCE:
        faults.append(f"the pictures alone tell members from others (the lower end of the blind AUC is above {_CHANCE})")
    else:
        known.append(f"the pictures alone do not tell members from others (blind AUC from {number(blind['ci_low'], metric)})")
    if control.get("value") is None:
        faults.append("there is no positive control")
    elif control["value"] <= _FOUND:
        faults.append(f"the attack does not find its positive control (AUC {number(control['value'], metric)})")
    else:
        known.append(f"the attack finds its positive control (AUC {number(control['value'], metric)})")
    if faults:
        return f"{network_name(name)}: the comparison is void: {' and '.join(faults)}."
    return f"{network_name(name)}: the comparison is valid: {' and '.join(known)}."


def attacks_table(metrics: Nested) -> Table:
    """The AUC of each attack on each network, over slices and over patients, and on its control."""
    found = {name: figures for name, figures in metrics["privacy"].items() if "attacks" in figures}
    columns = [Column("Attack")]
    columns += [Column(part) for _ in found for part in ("Slices", "Patients")]
    rows: list[list[Cell]] = []
    for key, title in _AGAINST.items():
        trees = [(figures if not key else figures.get(key) or {}).get("attacks", {}) for figures in found.values()]
        if not any(trees):
            continue
        rows.append([text(title, "label")])
        for attack, name in _ATTACKS.items():
            cells = [cell for tree in trees for cell in _slices_and_patients(tree.get(attack))]
            rows.append([text(name, "label"), *cells])
    return Table(
        "AUC of each attack: 0.5 is chance, 1 finds every member. The headline and the blind attack are trained, and never "
        "score a patient whom they were trained on. Of the official test patients the pictures alone may tell that they are "
        "others.",
        columns,
        rows if found else [],
        [("", 1), *((network_name(name), 2) for name in found)],
    )


def match_table(project: ReportSource) -> Table:
    """How many patients and slices of each dataset and vendor there are on either side, and how many were drawn."""
    columns = [Column("Dataset · vendor"), Column("Members", "training patients"), Column("Others", "patients")]
    columns += [Column("Drawn", "patients of either side"), Column("Slices", "of members"), Column("Slices", "of others")]
    rows: list[list[Cell]] = []
    stages = filter(None, (project.stage(f"membership-{name}") for name in [*project.generators, "masks"]))
    notes = next((stage.notes for stage in stages), {})  # the draw is the same for every network
    for key, title in (("match", "Hold-out patients"), ("test_match", "Official test patients")):
        kinds = notes.get(key) or []
        rows += [[text(title, "label")]] if kinds else []
        for kind in kinds:
            counts = (kind[name] for name in ("members", "nonmembers", "drawn", "member_slices", "nonmember_slices"))
            label = f"{dataset_name(kind['dataset'])} · {kind['vendor']}"
            rows.append([text(label, "label"), *(text(count, "count") for count in counts)])
    return Table(
        "Members and others of the attack, matched: as many patients of each dataset and vendor on either side.", columns, rows
    )


def controls_table(project: ReportSource) -> Table:
    """Field by field, in what each positive control is the network that it controls, and in what it is not."""
    columns = [Column("Control of"), *(Column(title, kind="prose") for title in _GROUPS.values())]
    columns += [
        Column("Steps"),
        Column("Passes", "over each slice"),
        Column("Learnt", kind="prose"),
        Column("Others", kind="prose"),
    ]
    rows = []
    for name in [*project.generators, "masks"]:
        own, control, stage = (project.network(name), project.network(f"control/{name}"), project.stage(f"membership-{name}"))
        about = stage.notes.get("control") if stage else None
        if own is None or control is None or not about:
            continue
        params = own.record.get("params", {}), control.record.get("params", {})
        cells = [text(_compared(*(_of(one, group) for one in params)), "prose") for group in _GROUPS]
        cells += [text(f"{own.record['steps']} → {control.record['steps']}", "count")]
        slices = own.record["slices"]["data/cohort/train"], control.record["slices_trained_on"]
        passes = [_passes(one.record, count) for one, count in zip((own, control), slices, strict=True)]
        cells += [text(" → ".join(passes), "count"), *_people(about, slices[1])]
        rows.append([text(network_name(name), "label"), *cells])
    return Table(
        "The positive controls: the network's own class and settings, trained far too long on few patients of one vendor. “the "
        "same” counts the settings that agree; where they differ, the network's own stands before the arrow.",
        columns,
        rows,
    )


def _slices_and_patients(attack: Nested | None) -> list[Cell]:
    parts: list[Figure | None] = [None, None] if attack is None else [attack["auc"], attack["patient"]["auc"]]
    return [figure(part, _AUC) for part in parts]


def _of(params: Nested, group: str) -> Nested:
    """The settings of one group as dotted name -> value; none where the network has no such group."""
    return dict(_flat(params[group], "")) if group in params else {}


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _flat(below, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _compared(own: Nested, control: Nested) -> str:
    own, control = ({key: value for key, value in one.items() if key not in _LENGTH} for one in (own, control))
    if not own and not control:
        return "none"
    if control == {"": None}:
        return "on → off"
    agreeing = [key for key in own if key in control and own[key] == control[key]]
    differing = [f"{key}: {own.get(key)} → {control.get(key)}" for key in {**own, **control} if key not in agreeing]
    same = "the same" if len(agreeing) == 1 else f"the same ({len(agreeing)})"
    return "; ".join([*([same] if agreeing else []), *differing])


def _passes(record: Nested, slices: int) -> str:
    batch = min(record["params"]["train"]["batch"], slices)
    return f"{record['steps'] * batch / slices:.0f}"


def _people(about: Nested, slices: int) -> list[Cell]:
    learnt, others = (
        ", ".join(f"{count} {split}" for split, count in about[side].items()) for side in ("members", "nonmembers")
    )
    whose = f"{dataset_name(about['dataset'])} · {about['vendor']}"
    return [text(f"{learnt} patients ({slices} slices), {whose}", "prose"), text(f"{others} patients", "prose")]
