"""Grids of pictures that set the generators side by side: a row each, a column a slice (paper, Figs. 2 and 3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr.errors import DataError
from cmr.store import SliceStore
from mlops.gate import MASKS
from pipelines.reporting.gallery import COLUMNS, all_structures, images_of, patient_of, spread
from pipelines.reporting.names import network_name
from pipelines.reporting.pictures import Strip, Tile, image_tile, mask_tile
from pipelines.reporting.project import Project
from pipelines.reporting.source import ReportSource

_SLICE = ["dataset", "subject", "phase", "slice"]
_SYNTHETIC = ["subject"]  # each generated mask has a name of its own


@dataclass(frozen=True)
class Grid:
    """Rows of pictures of equal length.

    Attributes:
        rows: (name, slices (S, S)) pairs: uint8 masks or images in [-1, 1].
        captions: one a column, shown under the last row.
        gaps: why a row is missing, one sentence each.
    """

    rows: list[tuple[str, list[NDArray]]] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    @property
    def strips(self) -> list[Strip]:
        """The rows as the page shows them."""
        strips = []
        for place, (name, slices) in enumerate(self.rows, start=1):
            captions = self.captions if place == len(self.rows) else [""] * len(slices)
            tiles = (_tile(array, name, caption) for array, caption in zip(slices, captions, strict=True))
            strips.append(Strip(name, tuple(tiles)))
        return strips


def on_test_masks(project: Project) -> Grid:
    """Test masks, the real slices they were drawn on, and what each generator made of them; one patient a column (Fig. 3).

    In-house only.

    Raises:
        DataError: a generator's slices and the test slices have none in common.
    """
    real = project.store("cohort/test")
    sets, gaps = _sampled({name: project.store(f"sets/{name}-test") for name in project.generators}, "test")
    if real is None or not sets:
        return Grid(gaps=gaps)
    matched = _matched(real, sets, _SLICE, "cohort/test", "test")
    # The middle slice of each patient, then spread over the patients.
    groups = matched.groupby(["dataset", "subject"], sort=True)
    chosen = spread([int(rows["row"].iloc[len(rows) // 2]) for _, rows in groups])
    above = [("Mask", [np.asarray(real.masks[row]) for row in chosen]), ("Real", [images_of(real)[row] for row in chosen])]
    return Grid(above + _synthetic(sets, matched, chosen), [patient_of(real.index, row) for row in chosen], gaps)


def on_generated_masks(project: ReportSource, part: int = 0, columns: int = COLUMNS) -> Grid:
    """Masks of the mask model and what each generator made of them (Full-Syn): nothing in them is real.

    Args:
        part: 0 or 1: which half of the masks the columns are spread over, so that two grids differ.
        columns: how many masks at most.

    Raises:
        DataError: a generator's slices were made for other masks.
    """
    masks = project.synthetic(MASKS)
    sets, gaps = _sampled({name: project.synthetic(name) for name in project.generators}, "full")
    if masks is None or not sets:
        return Grid(gaps=gaps)
    matched = matched_synthetic(masks, sets)
    rows = [int(row) for row in matched["row"]]
    chosen = spread(rows[part::2] or rows, columns)
    above = [("Generated mask", [np.asarray(masks.masks[row]) for row in chosen])]
    return Grid(above + _synthetic(sets, matched, chosen), [""] * len(chosen), gaps)


def beside_real(project: Project, columns: int) -> Grid:
    """:func:`on_generated_masks`, and below it as many slices of test patients, who have other hearts. In-house only."""
    drawn, real = on_generated_masks(project, columns=columns), project.store("cohort/test")
    if not drawn.rows or real is None:
        return drawn
    whole = np.flatnonzero(all_structures(real))
    chosen = spread([int(row) for row in (whole if len(whole) else np.arange(len(real)))], len(drawn.captions))
    if len(chosen) < len(drawn.captions):
        return replace(drawn, gaps=[*drawn.gaps, f"Real slices: the test patients have only {len(chosen)}"])
    return replace(drawn, rows=[*drawn.rows, ("Real, of others", [images_of(real)[row] for row in chosen])])


def matched_synthetic(masks: SliceStore, sets: Mapping[str, SliceStore]) -> pd.DataFrame:
    """Rows of the synthetic masks, ``row``, and of each generator's images of them, a column each; whole hearts if any.

    Raises:
        DataError: a generator's slices were made for other masks.
    """
    return _matched(masks, sets, _SYNTHETIC, "masks/full", "full")


def on_the_way(project: Project) -> tuple[list[Strip], list[str]]:
    """For each generator one image as it comes out of the noise (Fig. 2), behind its mask; and why strips are missing.

    In-house only: the mask is a test patient's.
    """
    strips, gaps = [], []
    for name in project.generators:
        found = project.denoising(name)
        if found is None:
            gaps.append(_not_sampled(name, "test"))
            continue
        tiles = [mask_tile(found.mask, "the mask", "mask")]
        for time, state in zip(found.times, found.states, strict=True):
            tiles.append(image_tile(state, f"{network_name(name)}, time step {time:g}", f"t = {time:g}"))
        strips.append(Strip(network_name(name), tuple(tiles)))
    return strips, gaps


def _sampled(stores: Mapping[str, SliceStore | None], source: str) -> tuple[dict[str, SliceStore], list[str]]:
    """The generators' slices on the masks of a source that there are, and why the others are missing."""
    gaps = [_not_sampled(name, source) for name, store in stores.items() if store is None]
    return {name: store for name, store in stores.items() if store is not None}, gaps


def _not_sampled(generator: str, source: str) -> str:
    return f"{network_name(generator)}: the stage sample@{generator}-{source} has not run"


def _matched(store: SliceStore, sets: Mapping[str, SliceStore], keys: list[str], store_path: str, source: str) -> pd.DataFrame:
    """Row numbers of the slices that all have: ``row`` in ``store``, a column a generator in its set; whole hearts if any."""
    matched = store.index[keys].assign(row=np.arange(len(store)))
    for name, synthetic in sets.items():
        matched = matched.merge(synthetic.index[keys].assign(**{name: np.arange(len(synthetic))}), on=keys)
        if matched.empty:
            raise DataError(
                f"data/sets/{name}-{source} and data/{store_path} have no slice in common (by {', '.join(keys)}); "
                f"sample again: `dvc repro -f sample@{name}-{source}`"
            )
    whole = all_structures(store)[matched["row"].to_numpy()]
    return matched[whole] if whole.any() else matched


def _synthetic(sets: Mapping[str, SliceStore], matched: pd.DataFrame, chosen: list[int]) -> list[tuple[str, list[NDArray]]]:
    rows = matched.set_index("row").loc[chosen]
    return [(network_name(name), [images_of(store)[row] for row in rows[name]]) for name, store in sets.items()]


def _tile(array: NDArray, name: str, caption: str) -> Tile:
    return mask_tile(array, name, caption) if array.dtype == np.uint8 else image_tile(array, name, caption)
