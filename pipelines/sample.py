"""Stage ``sample@GEN-SOURCE``: one image for each mask of a source, and one of them on its way from noise."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmr.files import whole_file
from cmr.labels import CLASSES
from cmr.store import SliceStore
from mlops.settings import section
from mlops.share import share
from models.config import ImageSamplingSettings
from pipelines.drawing import TIMES, draw_images, image_tasks
from pipelines.sampling import image_seeds, run_key, write_speed
from pipelines.stage import ROOT, run, say


def main(generator: str, source: str) -> None:
    conditions, folder = SliceStore.open(f"data/masks/{source}"), Path("runs") / generator
    settings = section(f"{generator}.sampling", ImageSamplingSettings)
    seeds = image_seeds(section("seed", int), source, len(conditions))
    shown = _first_whole(conditions.masks)
    tasks = image_tasks(generator, source, seeds, settings, shown)
    drawn = share(draw_images, tasks, label=f"sample {generator} {source}", unit="batch", root=ROOT, network=True)
    images, seconds = np.concatenate([one.pixels for one in drawn]), sum(one.seconds for one in drawn)
    states = next(one.states for one in drawn if one.states is not None)
    index = conditions.index.assign(
        generator=generator,
        model=run_key(folder),
        seed=seeds,
        sampler=settings.sampler,
        steps=settings.steps,
        guidance=settings.guidance,
        mask_source=source,
    )
    SliceStore.write(f"data/sets/{generator}-{source}", index, np.asarray(conditions.masks), images)
    with whole_file(Path(f"data/denoising/{generator}-{source}.npz")) as temporary, temporary.open("wb") as file:
        np.savez(file, times=np.array(TIMES), states=states, mask=np.asarray(conditions.masks[shown]))
    write_speed(generator, source, seconds, len(images), run_key(folder))
    say(f"sample {generator}-{source}: {len(images)} images, {settings.sampler} with {settings.steps} steps, {seconds:.0f} s")


def _first_whole(masks: NDArray[np.uint8]) -> int:
    """The row of the first mask that shows all structures; the first of all where none does."""
    return next((row for row, mask in enumerate(masks) if len(np.unique(mask)) == CLASSES), 0)


if __name__ == "__main__":
    run(main)
