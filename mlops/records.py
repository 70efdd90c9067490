"""What the stages leave of a network on disk: the record of its training, and its figures under the names that the gate uses.

A figure is called ``AXIS/NAME`` (``fidelity/kid``, ``utility/full_dice``, ``privacy/mia_auc``), NAME as in :mod:`mlops.gate`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cmr.errors import DataError
from cmr.labels import STRUCTURES
from mlops.gate import GateSettings, flat_figures
from mlops.settings import section

FIGURES = Path("reports", "figures")
PARTS = {"": "value", "/low": "ci_low", "/high": "ci_high", "/n": "n"}
"""What a metric of MLflow adds to a figure's name -> the figure's part that it holds."""

Nested = Mapping[str, Any]

_AXES = {"membership": "privacy", "sampling": "cost"}  # start of a file's name -> axis, where that is called otherwise
_SHAPE = ("pixel_share", "area", "roundness", "eccentricity", "solidity")
_SEGMENTATION = ("dice", "iou", "hd95", "asd")
_HEADLINES = {
    "cost": {"seconds_per_image", "autoencoder_seconds"},
    "fidelity": {
        *("ssim", "ms_ssim", "psnr", "lpips", "fid", "kid", "precision", "recall", "frechet_segmenter"),
        *("mask_adherence", "mask_adherence_ratio"),
    },
    "masks": {
        "valid_share",
        *(f"{of}_{name}_{part}" for of in STRUCTURES for name in _SHAPE for part in ("real", "generated", "p_value", "ks_d")),
    },
    "privacy": {
        *("nn_l2", "nn_lpips", "nn_dice", "nndr", "closer_to_train", "copies"),
        *("mia_auc", "mia_auc_blind", "mia_auc_control", "mia_tpr_at_1_fpr", "mia_tpr_at_10_fpr"),
    },
}


def read_json(path: Path) -> dict[str, Any]:
    """A record of a stage; :class:`DataError` names a file that is missing or broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; `dvc repro` makes it, `dvc checkout` restores it.") from error
    except ValueError as error:
        raise DataError(f"{path}: not readable as JSON ({error}); delete it and run `dvc repro`.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}; delete it and run `dvc repro`.")
    return content


def network_names(root: Path) -> list[str]:
    """All trained networks: ``ddpm``, ``segmenter/acdc-real``, ..."""
    return sorted(path.parent.relative_to(root / "runs").as_posix() for path in (root / "runs").rglob("run.json"))


def read_network(root: Path, name: str) -> dict[str, Any]:
    """``runs/NAME/run.json``; :class:`DataError` where it is missing, broken or lacks what is needed."""
    path = root / "runs" / name / "run.json"
    record = read_json(path)
    needed = ("name", "run_key", "params", "data", "seed", "seconds", "device", "best", "created")
    if missing := [key for key in needed if key not in record]:
        raise DataError(f"{path}: the record lacks {', '.join(missing)}; train the network again with `dvc repro --force`.")
    return record


def read_figures(root: Path) -> dict[str, dict[str, Any]]:
    """All files of ``reports/figures`` by name without its ending."""
    return {path.stem: read_json(path) for path in sorted((root / FIGURES).glob("*.json"))}


def speaks_of(root: Path, content: Nested) -> list[str]:
    """The trained networks whose figures are in a file: its ``run``, or the segmenters and generators of its setups."""
    named = [content["run"]] if content.get("run") else []
    for setup in () if named else content.get("figures") or {}:
        named += [f"segmenter/{setup}", setup.partition("-")[0]]
    return [name for name in dict.fromkeys(named) if (root / "runs" / name / "run.json").is_file()]


def figures_of_network(root: Path, files: Mapping[str, Nested], name: str) -> dict[str, Nested]:
    """All figures of the network ``runs/NAME``: ``AXIS/NAME`` -> figure (value, ci_low, ci_high, n; or value None and reason).

    Utility is that of its synthetic sets, or of itself if it is a segmenter. The figures on the test patients of its own
    dataset have the plain name (``utility/full_dice``), those on others' say so (``utility/full_dice_on_acdc``); those of the
    paper's convention are an axis of their own, ``utility_paper``. Figures of an earlier training are left out.

    Args:
        files: of :func:`read_figures`.
    """
    key = read_network(root, name)["run_key"]
    own = section("generators.train_on", tuple[str, ...], root)[0]
    found: dict[str, Nested] = {}
    for stem, content in files.items():
        figures = content.get("figures") or {}
        if content.get("run") == name and content.get("run_key", key) == key:
            axis = stem.partition("-")[0]
            found |= _named(_AXES.get(axis, axis), figures)
        elif stem == "utility":
            for setup, tests in figures.items():
                generator, _, source = setup.partition("-")
                if name == generator:
                    found |= _utility(tests, f"{source}_", own)
                elif name == f"segmenter/{setup}":
                    found |= _utility(tests, "", own)
    return found | dict(_cost(root, name, found))


def headlines(root: Path, model: str, figures: Mapping[str, Nested]) -> dict[str, Nested]:
    """The few figures that are metrics in MLflow: those of the paper's tables and those that the gate reads.

    Args:
        figures: of :func:`figures_of_network`.
    """
    usual = paper_headlines(figures)
    asked: set[str] = set()
    for axis, limits in section("gate", GateSettings, root).of(model).items():
        bounds = {limit.bound for limit in limits.values() if isinstance(limit.bound, str)}
        asked |= {f"{axis}/{name}" for name in {*limits, *bounds}}
    return {name: figure for name, figure in figures.items() if name in asked or name in usual}


def paper_headlines(figures: Mapping[str, Nested]) -> dict[str, Nested]:
    """Those of the figures, ``AXIS/NAME``, that are in the paper's tables or beside them, whatever the gate reads."""
    asked = {f"{axis}/{name}" for axis, names in _HEADLINES.items() for name in names}
    return {name: figure for name, figure in figures.items() if name in asked or _is_segmentation(name)}


def _is_segmentation(name: str) -> bool:
    """``utility/full_dice``, ``utility_paper/hd95_on_acdc``; not that of one structure, ``utility/full_LV_dice``."""
    axis, _, rest = name.partition("/")
    if axis not in ("utility", "utility_paper") or any(f"{of}_" in rest for of in (*STRUCTURES, "background")):
        return False
    return rest.partition("_on_")[0].rpartition("_")[2] in _SEGMENTATION


def _named(axis: str, figures: Nested, prefix: str = "", suffix: str = "") -> dict[str, Nested]:
    return {f"{axis}/{prefix}{name}{suffix}": figure for name, figure in flat_figures(figures)}


def _utility(tests: Nested, prefix: str, own: str) -> dict[str, Nested]:
    found: dict[str, Nested] = {}
    for test, conventions in tests.items():
        suffix = "" if test == own else f"_on_{test}"
        for convention, figures in conventions.items():
            found |= _named("utility" if convention == "clinical" else f"utility_{convention}", figures, prefix, suffix)
    return found


def _cost(root: Path, name: str, found: Mapping[str, Nested]) -> Iterator[tuple[str, Nested]]:
    """Seconds an image over all its sets, and the training of its autoencoder where it has one."""
    speeds = [figure for key, figure in found.items() if key.startswith("cost/") and figure["value"] is not None]
    if drawn := sum(figure["n"] for figure in speeds):
        yield "cost/seconds_per_image", {"value": sum(one["value"] * one["n"] for one in speeds) / drawn, "n": drawn}
    autoencoder = f"autoencoder/{name}"
    if (root / "runs" / autoencoder / "run.json").is_file():
        yield "cost/autoencoder_seconds", {"value": read_network(root, autoencoder)["seconds"]}
