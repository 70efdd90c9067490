"""Records of a training as the stages leave them behind."""

import json
from pathlib import Path
from typing import Any

RUN_KEY = "a" * 64
PNG = b"\x89PNG\r\n\x1a\n"
HISTORY = """step,epoch,train_loss,validation,learning_rate,seconds
10,1,0.9,,0.001,1.5
20,2,0.5,0.25,0.001,3.0
30,3,0.4,,0.0005,4.5
"""


def about(name: str = "ddpm", run_key: str = RUN_KEY) -> dict[str, Any]:
    """What is known of a network before it is trained."""
    return {
        "name": name,
        "kind": "generator",
        "run_key": run_key,
        "params": {"network": {"widths": [8, 16], "long": [8] * 400}, "train": {"batch": 4}},
        "data": {"data/cohort/train": "c0ffee"},
        "seed": 42,
    }


def write_network(root: Path, name: str = "ddpm", run_key: str = RUN_KEY, history: str = HISTORY) -> Path:
    """``runs/NAME`` as a training stage writes it."""
    folder = root / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "steps": 30,
        "seconds": 4.5,
        "device": "CPU",
        "best": {"step": 20, "score": 0.25},
        "created": "2026-01-02T03:04:05+00:00",
    }
    (folder / "run.json").write_text(json.dumps(about(name, run_key) | facts))
    (folder / "history.csv").write_text(history)
    (folder / "drawn.png").write_bytes(PNG)
    return folder


def figure(value: float, low: float, high: float, n: int) -> dict[str, Any]:
    return {"value": value, "ci_low": low, "ci_high": high, "n": n}


def write_figures(root: Path, name: str, run: str | None, figures: dict[str, Any], **more: Any) -> None:
    """``reports/figures/NAME.json``."""
    path = root / "reports" / "figures" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"run": run, "figures": figures, "notes": {}, **more}))
