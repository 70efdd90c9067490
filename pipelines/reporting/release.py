"""The report for release: what of a project may leave the house, copied out of it before anything is rendered."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.ingest import PARTS
from cmr.store import SliceStore
from mlops.gate import MASKS, GateSettings
from mlops.release import (
    counts_for_release,
    figures_for_release,
    hashes_for_release,
    label_without,
    names_in,
    number,
    params_for_release,
    settings_for_release,
)
from pipelines.reporting.charts import Densities
from pipelines.reporting.grids import matched_synthetic
from pipelines.reporting.likeness import ALIKE, SAME_SHAPE, most_alike, most_overlap
from pipelines.reporting.names import SPLITS
from pipelines.reporting.project import Project
from pipelines.reporting.source import Derived, Network, Stage

_SHOWN = 24  # synthetic masks and images of each generator
_TRIED = 4 * _SHOWN  # of which some may be too like a real slice
_HISTORY = ("step", "epoch", "train_loss", "validation", "learning_rate", "seconds")
_KINDS = ("masks", "autoencoder", "generator", "segmenter", "control")
_DIGEST = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True)
class Release(Derived):
    """Copies of what may leave the house. Nothing in it leads back to the project's folder: no path, no store of scans."""

    params: dict[str, Any]
    gate: GateSettings
    datasets: list[str]
    phantoms: list[str]
    networks: list[Network]
    revision: str
    _stages: Mapping[str, Stage]
    _ingested: Mapping[str, Mapping[str, Any]]
    _counts: Mapping[str, Mapping[str, Mapping[str, int]]]
    _synthetic: Mapping[str, SliceStore]
    _densities: Densities | None

    def stage(self, name: str) -> Stage | None:
        return self._stages.get(name)

    def ingested(self, dataset: str) -> Mapping[str, Any] | None:
        return self._ingested.get(dataset)

    def split_counts(self, dataset: str) -> Mapping[str, Mapping[str, int]] | None:
        return self._counts.get(dataset)

    def synthetic(self, name: str) -> SliceStore | None:
        return self._synthetic.get(name)

    def densities(self) -> Densities | None:
        return self._densities


def release_of(project: Project) -> Release:
    """What of the project may leave the house.

    Raises:
        DataError: a file of the project is broken, or synthetic images and masks do not belong together.
    """
    params = {"profile": "unnamed", **params_for_release(project.params)}
    patients = project.patients
    if licences := params["data"].get("licences"):
        params["data"]["licences"] = {name: label_without(text, patients) for name, text in licences.items()}
    datasets = [name for name in project.datasets if name in params["data"]["raw"]]
    generators = params["generators"]["names"]
    names = names_in(project.params)
    of_models = [f"{stage}-{model}" for stage in ("fidelity", "privacy", "membership") for model in (*generators, MASKS)]
    sampled = [f"sampling-{model}-{source}" for model in (*generators, MASKS) for source in ("full", "test", *datasets)]
    stages = {name: stage for name in (MASKS, "utility", *of_models, *sampled) if (stage := project.stage(name)) is not None}
    ingested = {name: _counted(found, patients) for name in datasets if (found := project.ingested(name)) is not None}
    shown = {name: set(found["vendors"]) for name, found in ingested.items()}
    return Release(
        params=params,
        gate=replace(project.gate, meaning=params["gate"].get("meaning", "")),
        datasets=datasets,
        phantoms=[name for name in project.phantoms if name in datasets],
        networks=[
            _network(network, names, patients) for network in project.networks if _is_known(network.name, generators, names)
        ],
        revision=project.revision if _DIGEST.fullmatch(project.revision) else "",
        _stages={
            name: Stage(figures_for_release(stage.figures, names), _notes(stage.notes, shown)) for name, stage in stages.items()
        },
        _ingested=ingested,
        _counts={
            name: {split: {kind: int(count) for kind, count in found[split].items()} for split in SPLITS}
            for name in datasets
            if (found := project.split_counts(name)) is not None
        },
        _synthetic=_synthetic(project, generators),
        _densities=project.densities(),
    )


def _is_known(network: str, generators: list[str], names: set[str]) -> bool:
    """Whether a network is called as the pipeline calls one: ``ddpm``, ``autoencoder/ldm``, ``segmenter/mnms-real-seed-1``."""
    kind, _, of = network.rpartition("/")
    if kind == "segmenter":
        return bool(figures_for_release({of: {}}, names))
    return kind in ("", "autoencoder", "control") and of in (MASKS, *generators)


def _network(network: Network, names: set[str], patients: set[str]) -> Network:
    """The record's numbers, settings and hashes, and the curves."""
    record, kept = network.record, dict[str, Any]()
    for key in ("steps", "parameters", "seconds", "seed", "slices_trained_on"):
        if (count := number(record.get(key))) is not None:
            kept[key] = count
    for block, keys in {
        "best": ("step", "score"),
        "codebook": ("used", "perplexity"),
        "reconstruction": ("l1", "psnr"),
    }.items():
        if block in record:
            kept[block] = {key: number(record[block].get(key)) for key in keys}
    kept |= {
        "kind": record.get("kind") if record.get("kind") in _KINDS else "",
        "device": label_without(record.get("device", ""), patients),
    }
    kept |= {"run_key": key if _DIGEST.fullmatch(key := str(record.get("run_key", ""))) else "", "created": _time(record)}
    kept["params"] = settings_for_release(record.get("params") or {})
    kept["data"] = hashes_for_release(record.get("data") or {}, names)
    kept["slices"] = {path: number(count) for path, count in (record.get("slices") or {}).items() if path in kept["data"]}
    history = network.history[[column for column in _HISTORY if column in network.history]].apply(
        pd.to_numeric, errors="coerce"
    )
    return Network(network.name, kept, history)


def _time(record: Mapping[str, Any]) -> str:
    try:
        return datetime.fromisoformat(str(record.get("created", ""))).isoformat(timespec="seconds")
    except ValueError:
        return ""


def _notes(notes: Mapping[str, Any], vendors: Mapping[str, set[str]]) -> dict[str, Any]:
    """Curves of FID, the table of the match and of whom a positive control learnt, in numbers."""
    found: dict[str, Any] = {}
    if curves := notes.get("fid_against_n"):
        found["fid_against_n"] = {
            key: {axis: [number(one) for one in curve[axis]] for axis in ("n", "frechet")}
            for key, curve in curves.items()
            if key in ("made", "full", "train")
        }
    sides = ("members", "nonmembers", "drawn", "member_slices", "nonmember_slices")
    for key in ("match", "test_match"):
        if kinds := notes.get(key):
            found[key] = [{**_group(kind, vendors), **{side: number(kind[side]) for side in sides}} for kind in kinds]
    if control := notes.get("control"):
        of_sides = {
            side: {split: number(control[side][split]) for split in control[side] if split in SPLITS} for side in sides[:2]
        }
        found["control"] = _group(control, vendors) | of_sides
    return found


def _group(of: Mapping[str, Any], vendors: Mapping[str, set[str]]) -> dict[str, str]:
    """A dataset and one of the vendors of it that are released."""
    shown = vendors.get(of["dataset"], set())
    return {
        "dataset": of["dataset"] if of["dataset"] in vendors else "other",
        "vendor": of["vendor"] if of["vendor"] in shown else "other",
    }


def _counted(found: Mapping[str, Any], patients: set[str]) -> dict[str, Any]:
    """The counts of ingest; names of vendors, centres and diseases only where they single out no patient."""
    kept: dict[str, Any] = {"layout": label_without(found["layout"], patients)}
    kept |= {key: number(found[key]) or 0 for key in ("frames", "duplicates", "skipped", "excluded", "warnings")}
    for key in ("found", "subjects"):
        kept[key] = {part: number(found[key].get(part)) or 0 for part in PARTS if part in found[key]}
    for key in ("vendors", "centres", "pathologies"):
        kept[key] = counts_for_release(found[key], patients)
    kept["unused"] = {"scans": total} if (total := sum(number(count) or 0 for count in found["unused"].values())) else {}
    return kept


def _synthetic(project: Project, generators: list[str]) -> dict[str, SliceStore]:
    """Some synthetic masks, and every generator's images of them; none that is almost a real mask or slice."""
    masks = project.synthetic(MASKS)
    sets = {name: store for name in generators if (store := project.synthetic(name)) is not None}
    if masks is None:
        return {}
    matched = matched_synthetic(masks, sets).reset_index(drop=True)
    places = np.unique(np.linspace(0, len(matched) - 1, min(len(matched), _TRIED)).round().astype(int))
    rows = {MASKS: matched["row"].to_numpy()[places], **{name: matched[name].to_numpy()[places] for name in sets}}
    shapes = np.asarray(masks.masks[rows[MASKS]])
    images = {name: np.asarray(store.images[rows[name]]) for name, store in sets.items() if store.images is not None}
    chosen = _unlike_real(project, shapes, images)
    if not len(chosen):
        return {}
    index = pd.DataFrame({"subject": [f"synthetic {place}" for place in range(1, len(chosen) + 1)]})
    found = {MASKS: SliceStore(shapes[chosen], index)}
    return found | {name: SliceStore(shapes[chosen], index, pictures[chosen]) for name, pictures in images.items()}


def _unlike_real(project: Project, masks: NDArray[np.uint8], images: Mapping[str, NDArray]) -> NDArray[np.intp]:
    """Up to :data:`_SHOWN` places where neither the mask nor an image is a real one again: a generator may learn one by heart.

    What is mirrored, turned, shifted or negated counts as the same.
    """
    real = [store for dataset in project.datasets if (store := project.store(f"slices/{dataset}")) is not None]
    chosen = np.empty(0, dtype=np.intp)
    rounds = -(-len(masks) // _SHOWN)
    for first in range(rounds):  # each round takes places from all over the set, and mostly the first is enough
        places = np.arange(first, len(masks), rounds)
        alike = np.zeros(len(places), dtype=bool)
        for store in real:
            alike |= most_overlap(masks[places], store.masks) > SAME_SHAPE
            if store.images is not None and images:
                drawn = np.concatenate([pictures[places] for pictures in images.values()])
                alike |= (most_alike(drawn, store.images) > ALIKE).reshape(len(images), -1).any(axis=0)
        chosen = np.concatenate([chosen, places[~alike]])
        if len(chosen) >= _SHOWN:
            break
    return np.sort(chosen[:_SHOWN])
