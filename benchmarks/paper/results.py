"""`results.json` and `results.md` of `benchmarks/paper_scale.py`: what there is so far."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paper.work import SOURCES, Given, Work, facts_of, write_json
from models.config import MaskSamplingSettings, SamplingSettings, TrainSettings
from models.train import total_steps

NONE = "not yet"


@dataclass(frozen=True)
class Part:
    """A part of the full protocol: so many steps or images, and what one took here."""

    name: str
    unit: str
    count: int
    seconds: float
    ran: str

    @property
    def hours(self) -> float:
        return self.count * self.seconds / 3600


def write_results(data: Path, out: Path) -> None:
    """Both files, from the facts of the stages that are done."""
    about = json.loads((out / "run.json").read_text())
    work = Work(data, out, Given(**about["given"]))
    facts = {path.parent.name: json.loads(path.read_text()) for path in sorted(out.glob("*/facts.json"))}
    for one in facts.values():
        if "macs_per_slice" in one:
            rate = 2 * one["macs_per_slice"] * one["batch"] / one["seconds_per_step"]
            one |= {"slices_per_second": one["batch"] / one["seconds_per_step"], "flops": rate}
            one["flops_utilisation"] = rate / about["peak"]["flops"]
    parts = protocol(work)
    hours = sum(part.hours for part in parts)
    table = [{**vars(part), "hours": part.hours} for part in parts]
    write_json(out / "results.json", {**about, "stages": facts, "protocol": table, "protocol_hours": hours})
    text = [_head(about), _trainings(facts), _protocol(parts, hours), _figures(work, facts)]
    (out / "results.md").write_text("\n\n".join(text) + "\n")


def protocol(work: Work) -> list[Part]:
    """The paper's protocol in parts of which one was measured here, each as often as the settings say."""
    settings, full = work.settings, work.settings["protocol"]
    found: list[Part] = []

    def training(stage: str, times: int, *keys: str) -> None:
        block = {key: value for key, value in _block(settings, *keys).items() if key != "mask_drop"}
        train = TrainSettings(**block)
        if (facts := facts_of(work.out, stage)) is not None:
            steps = total_steps(train, max(1, full["slices"] // train.batch))
            found.append(
                Part(f"training {stage}", "steps", times * steps, facts["seconds_per_step"], f"{facts['steps']} steps")
            )

    def drawing(stage: str, count: int, kind: type[SamplingSettings], *keys: str) -> None:
        if (facts := facts_of(work.out, stage)) is not None:
            steps = kind(**_block(settings, *keys)).steps
            seconds = facts["seconds_per_image"] * steps / facts["network_steps"]
            ran = f"{facts['images']} in {facts['network_steps']} steps each"
            found.append(Part(f"drawing {stage.split('-')[1]}", f"images, {steps} steps each", count, seconds, ran))

    training("masks", 1, "masks", "train")
    for name, block in settings["generators"].items():
        if block["autoencoder"] is not None:
            training(f"{name}-autoencoder", 1, "generators", name, "autoencoder", "train")
        training(name, 1, "generators", name, "train")
    training("segmenter-real", full["segmenters"], "segmenter", "train")
    drawing("sample-masks", full["slices"], MaskSamplingSettings, "masks", "sampling")
    for name in settings["generators"]:
        drawing(f"sample-{name}-{SOURCES[0]}", full["images"], _Images, "generators", name, "sampling")
    return found


@dataclass(frozen=True)
class _Images(SamplingSettings):
    guidance: float


def _block(settings: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        settings = settings[key]
    return settings


def _head(about: dict[str, Any]) -> str:
    machine, peak, given = about["machine"], about["peak"], about["given"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    less = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in given.items() if value) or "nothing less"
    return (
        f"Profile `{about['settings']['profile']}` on {machine['device']}; {versions}, Python {machine['python']}, CUDA "
        f"{machine['cuda']}. Its largest product of matrices ran at {peak['flops'] / 1e12:.3g} TFLOP/s in {peak['kind']}: "
        f"utilisation is of that. Less than the settings: {less}."
    )


def _trainings(facts: dict[str, Any]) -> str:
    rows = [["training", "steps run", "ms a step", "slices/s", "GFLOP a slice", "utilisation", "peak GPU memory"]]
    for name, one in facts.items():
        if "macs_per_slice" not in one:
            continue
        memory = one["peak_gpu_bytes"]
        rows.append(
            [
                f"`{name}`",
                str(one["steps"]),
                f"{1000 * one['seconds_per_step']:.3g}",
                f"{one['slices_per_second']:.3g}",
                f"{2e-9 * one['macs_per_slice']:.3g}",
                f"{one['flops_utilisation']:.1%}",
                "no GPU" if memory is None else f"{memory / 2**30:.2f} GiB",
            ]
        )
    return _table(rows)


def _protocol(parts: list[Part], hours: float) -> str:
    rows = [["the full protocol on this one device", "how much", "seconds each", "hours", "really run"]]
    rows += [[one.name, f"{one.count} {one.unit}", f"{one.seconds:.3g}", f"{one.hours:.3g}", one.ran] for one in parts]
    return _table([*rows, ["**all of these**", "", "", f"**{hours:.3g}**", ""]])


def _figures(work: Work, facts: dict[str, Any]) -> str:
    inception = facts.get("inception", {})
    tests = sorted(path.stem.removeprefix("test-") for path in work.data.glob("test-*.npz"))
    near_and_far = ["nearest L2", "NNDR", "closer to training", "AUC (naive)", "FID", "KID"]
    rows = [["set", "adherence", "Fréchet (segmenter)", *(f"Dice on {one}" for one in tests), *near_and_far]]
    sets = [("real", "judge-real", "")]
    sets += [(f"{name}-{source}", f"judge-{name}-{source}", name) for name in work.settings["generators"] for source in SOURCES]
    for name, stage, network in sets:
        if (one := facts.get(stage)) is None:
            continue
        near, fid = one["neighbours"], inception.get(name, {})
        auc = facts.get(f"judge-{network}", {}).get("membership_auc") if network else None
        values = [one["adherence"], one["frechet"], *(one["dice"][test] for test in tests)]
        values += [near["nn_l2"], near["nndr_paper"], near["closer_to_train"], auc, fid.get("fid"), fid.get("kid")]
        rows.append([name, *map(_cell, values)])
    note = "FID and KID: `score`, where the weights of Inception lie." if not inception else ""
    return (_table(rows) if len(rows) > 1 else f"Figures: {NONE}.") + f"\n\nDice: of volumes, without a 95 % interval. {note}"


def _cell(value: float | None) -> str:
    return "—" if value is None or not math.isfinite(value) else f"{value:.3g}"


def _table(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
