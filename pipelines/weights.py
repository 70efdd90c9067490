"""Which metric networks the stages may use. The stage `features` finds out, so that all figures of a run agree on it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cmr.errors import DataError

if TYPE_CHECKING:
    from evaluation.networks.lpips import LpipsNetwork

INCEPTION, LPIPS = "inception-fid", "lpips-vgg16"
RECORD = Path("data/features/weights.json")
"""By name of the weights: why they can't be had, or nothing."""


def why_without(name: str) -> str:
    """Why the stage `features` found no weights of that name; empty where it did."""
    return str(json.loads(RECORD.read_text())[name])


def explained(error: DataError) -> str:
    """The reason of a figure that is missing for want of weights: what happened, and what to do."""
    told = getattr(error, "summary", str(error)).rstrip(".")
    return f"{told}. Once `syncmri weights fetch` has them: `dvc repro --force --single-item features`, then `dvc repro`."


def lpips_network() -> "LpipsNetwork | str":
    """The network behind LPIPS, or why there is none. What `features` did not find is not looked for again."""
    if reason := why_without(LPIPS):
        return reason
    from evaluation.networks.lpips import LpipsNetwork  # torch, which privacy@GEN needs for nothing else

    try:
        return LpipsNetwork("vgg")
    except DataError as error:
        return explained(error)
