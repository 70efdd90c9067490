"""A tiny finished project folder: what the stages before `report` leave behind, with drawn hearts in place of scans."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from ruamel.yaml import YAML

from cmr.labels import LV, MYO, RV, STRUCTURES
from cmr.store import SliceStore

SIZE = 32
SPLITS = {"train": 6, "val": 2, "test": 4, "holdout": 3}
GENERATORS = ("ddpm", "ldm", "fm")
SLICES = 4
RECONSTRUCTIONS = (160, 44)  # pixels of the picture that an autoencoder leaves


def setups(generators: tuple[str, ...]) -> list[str]:
    """The segmenters of the utility study."""
    return ["acdc-real", "mnms-real", *(f"{name}-{source}" for name in generators for source in ("full", "acdc", "mnms"))]


def build_project(
    root: Path,
    *,
    datasets: tuple[str, ...] = ("acdc", "mnms"),
    generators: tuple[str, ...] = ("ddpm",),
    figures: bool = True,
    size: int = SIZE,
) -> Path:
    """Write the project below ``root``.

    Args:
        datasets: the datasets that have data.
        generators: the generators that were trained; ``ldm`` is the one with an autoencoder.
        figures: whether the stages that write reports/figures and runs have run.
    """
    rng = np.random.default_rng(7)
    _write_params(root, datasets, generators, size)
    stores = {name: _write_slices(root, name, rng, size) for name in datasets}
    train_on = stores["mnms" if "mnms" in datasets else "acdc"]
    for split in SPLITS:
        rows = (train_on.index["split"] == split) & train_on.index["labelled"]
        if rows.any():
            cohort = train_on.select(rows.to_numpy())
            SliceStore.write(root / "data/cohort" / split, cohort.index, cohort.masks, cohort.images)
    _write_synthetic(root, generators, rng, size)
    if figures:
        _write_figures(root, datasets, generators)
        kinds = {"masks": "masks", **dict.fromkeys(generators, "generator")}
        kinds |= {f"autoencoder/{name}": "autoencoder" for name in generators if name == "ldm"}
        for name, kind in {**kinds, **{f"segmenter/{one}": "segmenter" for one in setups(generators)}}.items():
            _write_run(root, name, kind, rng)
    return root


def figure(value: float, n: int = 24) -> dict[str, Any]:
    return {"value": value, "ci_low": value * 0.93, "ci_high": value * 1.05, "n": n}


def heart(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """A mask (size, size): LV disc within its ring, RV crescent on the picture's left."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    cx, cy, r = rng.normal(0.05, 0.02), rng.normal(0, 0.02), rng.uniform(0.09, 0.14)
    distance = np.hypot(x - cx, (y - cy) * rng.uniform(0.95, 1.1))
    mask = np.zeros((size, size), np.uint8)
    mask[(np.hypot((x - cx + 0.2) * 1.5, y - cy) < 0.19) & (x < cx)] = RV
    mask[distance < r + 0.075] = MYO
    mask[distance < r] = LV
    return mask


def picture(mask: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float16]:
    """A slice in [-1, 1] for a mask: bright blood, dark muscle, noise."""
    grey = np.choose(mask, [-0.35, 0.75, -0.5, 0.6]) + rng.normal(0, 0.12, mask.shape)
    return np.clip(grey, -1, 1).astype(np.float16)


def _write_params(root: Path, datasets: tuple[str, ...], generators: tuple[str, ...], size: int) -> None:
    params = {
        "profile": "demo",
        "seed": 42,
        "data": {
            "raw": {name: {"root": f"data/phantom/{name}", "reader": name} for name in datasets},
            "skip_bad": False,
        },
        "splits": {"validation_share": 0.3},
        "slices": {
            "size": size,
            "field_of_view_mm": 160.0,
            "low_percentile": 1.0,
            "high_percentile": 99.0,
            "minimum_range": 0.05,
        },
        "privacy": {"holdout": {"share": 0.2, "minimum_patients": 3}, "neighbours": {"block": 256}},
        "generators": {"names": list(generators), "train_on": ["mnms"], "sources": ["full", "test", "acdc", "mnms"]},
        **{
            name: {
                "network": {"widths": [32, 64]},
                "autoencoder": {"network": {"codebook": 64}} if name == "ldm" else None,
                "train": {"steps": 200, "batch": 8, "learning_rate": 1e-4},
                "sampling": {"steps": 25},
            }
            for name in generators
        },
        "utility": {"setups": setups(generators)},
        "tracking": {"experiment": "syncmri"},
        "evaluation": {"bootstrap": 200, "permutations": 200, "confidence": 0.95},
        "gate": {
            "meaning": "Limits of a test.",
            "images": {
                "fidelity": {"mask_adherence_ratio": {"at_least": 0.5}, "kid": {"at_most": 0.2}},
                "utility": {"full_dice": {"at_least": 0.3}},
                "privacy": {
                    "copies": {"at_most": 0.05},
                    "closer_to_train": {"at_most": "closer_to_train_null", "compare": "best"},
                },
            },
            "masks": {"masks": {"valid_share": {"at_least": 0.5}}, "privacy": {"copies": {"at_most": 0.01}}},
        },
    }
    root.mkdir(parents=True, exist_ok=True)
    with (root / "params.yaml").open("w") as file:
        YAML().dump(params, file)


def _write_slices(root: Path, dataset: str, rng: np.random.Generator, size: int) -> SliceStore:
    rows, masks = [], []
    splits = SPLITS if dataset == "mnms" else {name: count for name, count in SPLITS.items() if name != "holdout"}
    for split, patients in splits.items():
        for patient in range(patients):
            subject = f"{dataset}-{split}-{patient:02d}"
            for phase in ("ED", "ES"):
                for number in range(SLICES):
                    labelled = split != "test" or number > 0
                    masks.append(heart(rng, size) if labelled else np.zeros((size, size), np.uint8))
                    rows.append(_row(subject, dataset, split, phase, number, labelled, "AB"[patient % 2]))
    images = np.stack([picture(mask, rng) for mask in masks])
    return SliceStore.write(root / "data/slices" / dataset, pd.DataFrame(rows), np.stack(masks), images)


def _row(subject: str, dataset: str, split: str, phase: str, number: int, labelled: bool, vendor: str) -> dict[str, Any]:
    about = {"subject": subject, "dataset": dataset, "split": split, "vendor": vendor, "centre": "1", "pathology": "NOR"}
    place = {
        "phase": phase,
        "slice": number,
        "slice_mm": 10.0,
        "row_mm": 5.0,
        "column_mm": 5.0,
        "crop_row": 3,
        "crop_column": -2,
    }
    return {**about, **place, "labelled": labelled}


def _write_synthetic(root: Path, generators: tuple[str, ...], rng: np.random.Generator, size: int) -> None:
    drawn = np.stack([heart(rng, size) for _ in range(24)])
    index = pd.DataFrame([_row(f"synthetic-{i:05d}", "", "", "", i, True, "") for i in range(len(drawn))])
    SliceStore.write(root / "data/masks/full", index, drawn)
    test = SliceStore.open(root / "data/cohort/test")
    masks = np.asarray(test.masks)
    (root / "data/denoising").mkdir()
    for name in generators:
        SliceStore.write(root / f"data/sets/{name}-full", index, drawn, np.stack([picture(mask, rng) for mask in drawn]))
        SliceStore.write(root / f"data/sets/{name}-test", test.index, masks, np.stack([picture(mask, rng) for mask in masks]))
        times = np.array([1000.0, 800.0, 600.0, 400.0, 200.0, 0.0])
        noise, share = rng.normal(size=(len(times), size, size)), (times / 1000)[:, None, None]
        states = (np.sqrt(1 - share) * picture(masks[0], rng) + np.sqrt(share) * noise).astype(np.float16)
        np.savez(root / f"data/denoising/{name}-test.npz", times=times, states=states, mask=masks[0])


def _write_figures(root: Path, datasets: tuple[str, ...], generators: tuple[str, ...]) -> None:
    features = {"pixel_share": 5.2, "area": 845.0, "roundness": 0.85, "eccentricity": 0.49, "solidity": 0.96}
    checks = ("components", "holes", "ring", "lv_inside", "rv_touching")
    masks: dict[str, Any] = {structure: {name: _shape(value) for name, value in features.items()} for structure in STRUCTURES}
    masks["validity"] = {check: {"real": figure(0.95), "generated": figure(0.7)} for check in checks}
    masks |= {"valid_share": figure(0.71), "valid_share_real": figure(0.93), "valid_share_first_draw": figure(0.5)}
    masks |= {name: {"value": value, "n": 24} for name, value in (("drawn_again", 12.0), ("stayed_invalid", 7.0))}
    paired = {"ssim": figure(0.31), "ms_ssim": figure(0.42), "psnr": figure(13.2)}
    adherence = {"": 0.64, "_real": 0.84, "_shuffled": 0.31, "_ratio": 0.76, "_over_shuffled": 0.33}
    adherence_figures = {f"mask_adherence{name}": figure(value) for name, value in adherence.items()}
    rows = [{"synthetic": i, "train": i, "holdout": 2 * i} for i in range(6)]
    pairs = [{**row, "train_distance": 3.1 + i / 10, "holdout_distance": 3.3 + i / 10} for i, row in enumerate(rows)]
    neighbours = {"nndr": figure(0.91), "closer_to_train": figure(0.52), "copies": figure(0.02), "nndr_paper": figure(0.95)}
    floor = {"nn_l2": figure(6.9), "nndr": figure(0.93), "nndr_paper": figure(0.96)}
    utility = {setup: {name: _utility(0.8 - 0.05 * i) for name in datasets} for i, setup in enumerate(setups(generators))}
    for dataset in datasets:
        _write(root, f"ingest-{dataset}", _ingest_report(dataset))
    _write_json(root, "masks", masks)
    _write_json(root, "utility", utility)
    of_real = {name: figure(value["value"] * 0.9) for name, value in paired.items()}
    for name in generators:
        _write_json(root, f"fidelity-{name}", {**paired, **adherence_figures, "floor": of_real})
        near = {"nn_l2": figure(7.4), "nn_l2_holdout": figure(7.3), **neighbours, "floor": floor}
        _write_json(root, f"privacy-{name}", near, {"pairs": pairs})
    for name, source in [("masks", "full"), *((name, "full") for name in generators)]:
        speed = {source: {"seconds_per_image": {"value": 0.25, "ci_low": None, "ci_high": None, "n": 24}}}
        _write_json(root, f"sampling-{name}-{source}", speed)
    near = {"nn_l2": figure(4.2), "nn_dice": figure(0.17), **neighbours, "floor": floor}
    _write_json(root, "privacy-masks", near, {"pairs": pairs})


def _shape(value: float) -> dict[str, Any]:
    tests = {"ks_d": {"value": 0.21, "ci_low": None, "ci_high": None, "n": 48}, "p_value": {"value": 3.1e-7, "n": 48}}
    return {"real": figure(value), "floor": figure(value * 1.02), "generated": figure(value * 0.9), **tests} | {
        "p_value_permutation_holm": {"value": 0.24, "ci_low": None, "ci_high": None, "n": 48}
    }


def _utility(dice: float) -> dict[str, Any]:
    means = {"dice": figure(dice), "iou": figure(dice - 0.1), "hd95": figure(14 - 10 * dice), "asd": figure(5 - 4 * dice)}
    clinical: dict[str, Any] = {**means, **{name: {"dice": figure(dice + 0.04 * i)} for i, name in enumerate(STRUCTURES)}}
    counts = {
        name: {"value": 2.0, "ci_low": None, "ci_high": None, "n": 24} for name in ("misses", "false_finds", "both_empty")
    }
    return {"clinical": {**clinical, **counts}, "paper": means}


def _ingest_report(dataset: str) -> dict[str, Any]:
    parts = {"training": 9, "validation": 2, "testing": 4}
    return {
        "dataset": dataset,
        "layout": dataset,
        "found": {**parts, "testing": 5},
        "subjects": parts,
        "frames": 30,
        "unused": {"Training/Unlabeled": 25} if dataset == "mnms" else {},
        "skipped": [],
        "duplicates": [["patient001", "patient101"]] if dataset == "acdc" else [],
        "vendors": {"A": 8, "B": 7},
        "centres": {"1": 15},
        "pathologies": {"DCM": 5, "NOR": 10},
        "warnings": [],
    }


def _write_json(root: Path, name: str, figures: dict[str, Any], notes: dict[str, Any] | None = None) -> None:
    _write(root, name, {"run": None, "figures": figures, "notes": notes or {}})


def _write(root: Path, name: str, content: dict[str, Any]) -> None:
    path = root / "reports/figures" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _write_run(root: Path, name: str, kind: str, rng: np.random.Generator) -> None:
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    steps = np.arange(10, 201, 10)
    score = np.full(len(steps), np.nan) if kind == "masks" else np.where(steps % 50 == 0, 0.8 - np.exp(-steps / 60), np.nan)
    loss = np.exp(-steps / 70) + 0.08 + rng.normal(0, 0.01, len(steps))
    columns = {
        "step": steps,
        "epoch": steps // 40,
        "train_loss": loss,
        "validation": score,
        "learning_rate": 1e-4,
        "seconds": steps / 9,
    }
    pd.DataFrame(columns).to_csv(folder / "history.csv", index=False)
    record = {
        "name": name,
        "kind": kind,
        "run_key": "ab12" * 16,
        "params": {},
        "data": {"data/cohort/train": "cd34" * 16},
        "seed": 42,
    }
    outcome = {
        "steps": 200,
        "parameters": 1_230_000,
        "seconds": 61.5,
        "device": "cpu",
        "best": {"step": 200, "score": None if kind == "masks" else float(score[-1])},
    }
    if kind == "autoencoder":
        outcome |= {"codebook": {"used": 0.4, "perplexity": 21.5}, "reconstruction": {"l1": 0.081, "psnr": 24.9}}
        Image.fromarray(rng.integers(0, 255, RECONSTRUCTIONS[::-1], np.uint8)).save(folder / "reconstructions.png")
    (folder / "run.json").write_text(json.dumps({**record, **outcome, "created": "2026-01-02T03:04:05"}))
