"""Stage ``sample_masks``: as many synthetic masks as training masks, the invalid ones drawn again if that is asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.store import SliceStore
from evaluation.clean_up import clean_up
from evaluation.validity import check_anatomy
from mlops.settings import section
from mlops.share import share
from models.config import MaskSamplingSettings
from pipelines.drawing import draw_masks, mask_tasks
from pipelines.sampling import image_seeds, run_key, write_speed
from pipelines.stage import ROOT, run, say


def main() -> None:
    real, folder = SliceStore.open("data/cohort/train"), Path("runs/masks")
    settings, seed = section("masks.sampling", MaskSamplingSettings), section("seed", int)
    seconds: list[float] = []

    def draw(seeds: Sequence[int]) -> NDArray[np.uint8]:
        tasks = mask_tasks(real.size, seeds, settings)
        drawn = share(draw_masks, tasks, label="sample masks", unit="batch", root=ROOT, network=True)
        seconds.extend(one.seconds for one in drawn)
        return np.concatenate([one.pixels for one in drawn])

    masks, drawn = _draw_valid(draw, len(real), settings, seed)
    write_speed("masks", "full", sum(seconds), len(masks), run_key(folder))
    SliceStore.write("data/masks/full", _index(real, drawn, run_key(folder), settings), masks)
    again, invalid = int((drawn["attempts"] > 1).sum()), int((~drawn["valid"]).sum())
    cleaned = f", {int(drawn['cleaned'].sum())} cleaned up" if settings.clean_up else ""
    say(
        f"sample_masks: {len(masks)} masks, {settings.steps} steps each; {again} drawn again{cleaned}, "
        f"{invalid} anatomically not valid"
    )


def _draw_valid(
    draw: Callable[[Sequence[int]], NDArray[np.uint8]], count: int, settings: MaskSamplingSettings, seed: int
) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    """Masks (count, S, S), and of each its seed, how many draws it took, and whether it was cleaned up and is valid in the end.

    Args:
        draw: one mask for each seed.
    """
    seeds = image_seeds(seed, "full", count)
    masks, cleaned = _finished(draw(seeds), settings)
    drawn = pd.DataFrame({"seed": seeds, "attempts": 1, "cleaned": cleaned, "valid": check_anatomy(masks)["valid"]})
    for attempt in range(2, settings.attempts + 1):
        rows = np.flatnonzero(~drawn["valid"])
        if not len(rows):
            break
        others = image_seeds(seed, f"full, attempt {attempt}", count)
        fresh = [others[row] for row in rows]
        masks[rows], cleaned = _finished(draw(fresh), settings)
        drawn.loc[rows, "seed"], drawn.loc[rows, "attempts"], drawn.loc[rows, "cleaned"] = fresh, attempt, cleaned
        drawn.loc[rows, "valid"] = check_anatomy(masks[rows])["valid"].to_numpy()
    return masks, drawn


def _finished(masks: NDArray[np.uint8], settings: MaskSamplingSettings) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Masks as they are used, and which of them cleaning up has changed."""
    return clean_up(masks) if settings.clean_up else (masks, np.zeros(len(masks), bool))


def _index(real: SliceStore, drawn: pd.DataFrame, model: str, settings: MaskSamplingSettings) -> pd.DataFrame:
    pixel = real.index[["row_mm", "column_mm"]].iloc[0]
    return pd.DataFrame(
        {
            "subject": [f"synthetic-{number:05d}" for number in range(len(drawn))],
            "dataset": "synthetic",
            "split": "train",
            "vendor": "synthetic",
            "row_mm": float(pixel["row_mm"]),
            "column_mm": float(pixel["column_mm"]),
            "labelled": True,
            "generator": "masks",
            "model": model,
            "sampler": settings.sampler,
            "steps": settings.steps,
            "mask_source": "full",
        }
    ).join(drawn)


if __name__ == "__main__":
    run(main)
