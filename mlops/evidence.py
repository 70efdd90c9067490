"""The figures that a version is judged by: those that it carries, as far as its MLflow run still has them.

Two witnesses: the file was written with the weights, the run is what everybody looks at. Where they do not agree, or one is
silent, there is no figure.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops import registry
from mlops.connection import Tracking
from mlops.gate import Nested
from mlops.package import MODEL
from mlops.records import PARTS

FIGURES_FILE = "figures.json"


def figures_standing(tracking: Tracking, version: registry.Version, package: Path) -> dict[str, dict[str, Nested]]:
    """All figures of a version, axis -> name -> figure; one that its run lacks or has otherwise is a missing figure.

    Args:
        package: the version's package on this machine.
    """
    carried = json.loads((package / MODEL / FIGURES_FILE).read_text(encoding="utf-8"))
    run = tracking.client.get_run(version.run_id)
    metrics = run.data.metrics if run.info.lifecycle_stage == "active" else {}
    return {
        axis: {name: _confirmed(figure, f"{axis}/{name}", metrics) for name, figure in figures.items()}
        for axis, figures in carried.items()
    }


def _confirmed(figure: Nested, metric: str, metrics: Mapping[str, float]) -> Nested:
    if figure.get("value") is None:
        return figure
    for suffix, part in PARTS.items():
        ours, theirs = figure.get(part), metrics.get(metric + suffix)
        if ours is None:
            continue
        if theirs is None:
            return _missing(f"its MLflow run has no metric {metric}{suffix} (`syncmri sync` logs what is on disk)")
        if not math.isclose(ours, theirs, rel_tol=1e-9):
            return _missing(f"{metric}{suffix} is {theirs:.6g} in its MLflow run, and {ours:.6g} in the version")
    return figure


def _missing(reason: str) -> dict[str, Any]:
    return {"value": None, "reason": reason}
