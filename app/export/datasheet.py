"""What a synthetic set is, where it comes from and what it may be used for, for the people who get it.

After Gebru et al., "Datasheets for datasets", 2021, doi:10.1145/3458723.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.approved import Approved
from app.export.draw import Conditions, Count
from cmr.labels import STRUCTURES
from cmr.store import SliceStore
from mlops.registry import registered_name

# What a reader asks for first; every figure is in the model's card, which lies beside.
_HEADLINES = {
    "fidelity": {
        "kid": "KID (0: like real images)",
        "fid": "FID",
        "mask_adherence": "Mask adherence: Dice of the mask and what a segmenter trained on real scans reads",
        "mask_adherence_ratio": "… in proportion to real images",
    },
    "utility": {
        "full_dice": "Dice on real test patients of a segmenter trained on such images alone",
        "full_dice_ratio_to_real": "… in proportion to one trained on real images",
    },
    "privacy": {
        "copies": "Share of near-copies of training images",
        "closer_to_train": "Share closer to training than to held-out patients (0.5: no difference)",
        "mia_auc": "AUC of the membership attack (0.5: patients trained on can't be told)",
    },
}


@dataclass(frozen=True)
class Datasheet:
    """What there is to say of a set.

    Attributes:
        model: that drew the images; ``mask_model``: that drew the masks, or None where they were given.
        conditions: the masks that were drawn for; ``drawn``: what came of them.
        count: of the image draws.
        format: of the files; ``seed``: that all draws follow from.
    """

    model: Approved
    mask_model: Approved | None
    conditions: Conditions
    drawn: SliceStore
    count: Count
    format: str
    seed: int

    @property
    def models(self) -> list[Approved]:
        return [model for model in (self.model, self.mask_model) if model]


def write_datasheet(folder: Path, about: Datasheet, layout: str) -> None:
    """Write ``datasheet.md``, the same for programs as ``provenance.json``, and the models' cards.

    Args:
        layout: what lies where in the folder, in Markdown.
    """
    provenance = _provenance(about)
    (folder / "datasheet.md").write_text("\n".join(_page(about, provenance, layout)) + "\n", encoding="utf-8")
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for model in about.models:
        (folder / f"model-card-{model.model}.md").write_text(model.card, encoding="utf-8")


def _provenance(about: Datasheet) -> dict[str, Any]:
    masks = {"source": about.conditions.source} | (asdict(about.conditions.count) if about.mask_model else {})
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "slices": len(about.drawn),
        "format": about.format,
        "seed": about.seed,
        "sampler": about.model.sampler,
        "steps": int(about.drawn.index["steps"].iloc[0]),
        "images": asdict(about.count),
        "masks": masks,
        "models": [_of_model(model) for model in about.models],
    }


def _of_model(model: Approved) -> dict[str, Any]:
    return {
        "name": registered_name(model.model),
        "version": model.number,
        "approved_by_override": model.override,
        "marks": list(model.marks),
        "trained_on": ", ".join(model.train_on),
        "licences": ", ".join(model.licences),
        "package": model.digest,
        "run_key": model.run_key,
        "revision": model.revision,
    }


def _page(about: Datasheet, provenance: Mapping[str, Any], layout: str) -> Iterator[str]:
    drawn, pixel = about.drawn, float(about.drawn.index["row_mm"].iloc[0])
    yield f"# Synthetic cardiac MR: {len(drawn)} short-axis slices with masks\n"
    yield "**No picture here is a scan of a person.** A neural network drew them; they must not be used for a diagnosis.\n"
    for model in about.models:
        for mark in model.marks:
            yield f"> **{registered_name(model.model)} {model.number} was {mark}.**\n"
    yield "## Contents\n"
    yield f"{layout}\n"
    yield f"{len(drawn)} slices of {drawn.size} × {drawn.size} pixels of {pixel:g} mm. Slices that show each structure:\n"
    yield "| structure | slices |\n|---|---|"
    for name, label in STRUCTURES.items():
        yield f"| {name} | {int((drawn.masks == label).any(axis=(1, 2)).sum())} |"
    yield "\n## How they were made\n"
    yield from _made(about, provenance)
    yield "\n## Privacy\n"
    yield from _privacy(about)
    yield "\n## Figures of the generator\n"
    yield from _figures(about.model)
    yield "\n## Licences\n"
    yield from _licences(about)
    yield "\n## Limits\n"
    yield (
        "- Slices are drawn one by one: they make no volumes and belong to no patient; phase, scanner, disease are not known.\n"
        "- The models know only what their training patients show. Rare anatomy and disease may be missing.\n"
        "- A segmenter or classifier trained on these images has to be tested on real ones before its figures mean anything.\n"
        "- Near-copies are found by comparison with the training slices in the pixels; likeness of another kind is not."
    )


def _made(about: Datasheet, provenance: Mapping[str, Any]) -> Iterator[str]:
    for model, facts in zip(about.models, provenance["models"], strict=True):
        revision = f", code revision `{facts['revision']}`" if facts["revision"] else ""
        yield (
            f"- `{facts['name']}` version {model.number}, approved in the model registry; trained on {facts['trained_on']}; "
            f"package `{facts['package'][:16]}`, training `{facts['run_key'][:16]}`{revision}."
        )
    yield (
        f"- Images: sampler {provenance['sampler']}, {provenance['steps']} steps, all draws from the seed {about.seed}. The "
        "seed of each slice is in the index, where the format has one."
    )
    sources = {"masks": "drawn by the mask model above", "given": "given by the person who made the set"}
    source = sources.get(about.conditions.source, f"those of training patients of {about.conditions.source}, in random order")
    yield f"- Masks: {source}."
    yield f"- Made on {provenance['made']} in the format {about.format}."


def _privacy(about: Datasheet) -> Iterator[str]:
    count = about.count
    yield (
        f"- {count.drawn} images were drawn and compared with every slice that the generator was trained on; {count.withheld} "
        "were nearer to one than slices of unseen patients are (their nearest 1 %), and were withheld."
    )
    if about.mask_model:
        masks = about.conditions.count
        yield (
            f"- {masks.drawn} masks were drawn and compared in the same way; {masks.withheld} were withheld, and {masks.empty} "
            "left out since they show no heart."
        )
    elif about.conditions.source == "given":
        yield "- The masks were given and not compared: if they are those of patients, this set shows the patients' anatomy."
    else:
        yield (
            f"- **The masks are those of real patients** ({about.conditions.source}), without names and in random order: the "
            "anatomy is theirs, the images are not. Pass the set on only where the masks themselves may go."
        )


def _figures(model: Approved) -> Iterator[str]:
    yield "Measured on this version; an interval is of 95 % over patients unless its card says otherwise.\n"
    yield "| figure | value | interval | N |\n|---|---|---|---|"
    for axis, names in _HEADLINES.items():
        for name, title in names.items():
            yield f"| {title} | {_cells(model.figures.get(axis, {}).get(name, {}))} |"
    yield f"\nAll figures, and what the gate said of them: `model-card-{model.model}.md`."


def _cells(figure: Mapping[str, Any]) -> str:
    if figure.get("value") is None:
        return f"not measured: {figure.get('reason', 'no such figure')} | | "
    low, high, n = figure.get("ci_low"), figure.get("ci_high"), figure.get("n")
    interval = "" if low is None or high is None else f"{low:.3g} to {high:.3g}"
    return f"{figure['value']:.3g} | {interval} | {'' if n is None else n}"


def _licences(about: Datasheet) -> Iterator[str]:
    known = sorted({about.conditions.licence, *(name for model in about.models for name in model.licences)} - {""})
    yield (
        f"The data that this set was made from stands under: {', '.join(known) or 'no licence that the project names'}. The "
        "set is given on under the same terms: a licence that forbids commercial use (NC) or asks to share alike (SA) does so "
        "here."
    )
