"""What every stage shares: how it is started, where things lie, and how it writes its figures."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cmr.errors import DataError
from cmr.files import whole_file
from mlops.private import close_to_others, share_with_group
from mlops.terminal import print_on_any_terminal

ROOT = Path(".")  # DVC starts every stage in the project root
STATE = Path(".syncmri")

REAL_SPLITS = ("train", "val", "test", "holdout")


def run(stage: Callable[..., None]) -> None:
    """Calls a stage with the words of the command line; a fault of the data is told without a traceback, exit code 1."""
    print_on_any_terminal()
    try:
        share_with_group(ROOT)
        close_to_others(ROOT)
        stage(*sys.argv[1:])
    except DataError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        sys.exit(1)


def say(line: str) -> None:
    """The one line a stage ends with."""
    print(line, flush=True)


def segmenter_name(setup: str, seed: str | int | None = None) -> str:
    """How the segmenter trained on a setup is called, in runs/segmenter and data/scores; ``seed``: one of the further seeds."""
    return setup if seed is None else f"{setup}-seed-{seed}"


def write_figures(
    name: str, run: str | None, figures: dict[str, Any], notes: dict[str, Any] | None = None, *, run_key: str | None = None
) -> None:
    """Writes ``reports/figures/NAME.json``.

    Args:
        run: the trained network that the figures speak of (``ddpm``), or None where they speak of several.
        figures: JSON tree of figures.
        notes: whatever else the report shows.
        run_key: of that network, so that figures of an earlier training are not taken for those of a newer one.
    """
    whose = {"run": run} | ({"run_key": run_key} if run_key else {})
    write_json(Path(f"reports/figures/{name}.json"), {**whose, "figures": figures, "notes": notes or {}})


def write_json(path: Path, content: Any) -> None:
    """Writes strict JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
