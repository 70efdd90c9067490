"""Stage ``combine``: further training sets for segmenters, made of the real set of the generators' dataset.

``REAL-and-SETUP`` is the real set with a synthetic one added. ``REAL-as-SOURCE`` is as many real slices as a synthetic set of
that mask source has, so that the two differ in what the slices show and not in their number.
"""

import numpy as np
from numpy.typing import NDArray

from cmr.errors import DataError
from cmr.store import SliceStore, concatenate
from mlops.settings import GeneratorsSettings, section
from pipelines.stage import run, say
from pipelines.validation import validation_rows


def main(how: str, other: str) -> None:
    name = f"{section('generators', GeneratorsSettings).train_on[0]}-real"
    real = SliceStore.open(f"data/sets/{name}")
    if how == "and":
        made = with_synthetic(real, SliceStore.open(f"data/sets/{other}"))
    else:
        masks = SliceStore.open(f"data/masks/{other}")
        made = cut_down(real, int((~validation_rows(masks)).sum()), section("seed", int))
    SliceStore.write(f"data/sets/{name}-{how}-{other}", made.index, made.masks, made.images)
    trained, patients = ~validation_rows(made), made.index["subject"]
    say(f"{name}-{how}-{other}: {trained.sum()} slices of {patients[trained].nunique()} patients to train on")


def with_synthetic(real: SliceStore, synthetic: SliceStore) -> SliceStore:
    """All slices of both; the checkpoint is chosen on real slices alone.

    A synthetic slice of a validation patient's mask is left out, as the real ones of that patient are not trained on.

    Raises:
        DataError: slices of different sizes.
    """
    patients = real.index["subject"][validation_rows(real)]
    added = synthetic.select(~synthetic.index["subject"].isin(patients))
    index = added.index.filter(items=list(real.index.columns))  # how they were drawn stays with their own set
    return concatenate([real, SliceStore(added.masks, index, added.images)])


def cut_down(real: SliceStore, slices: int, seed: int) -> SliceStore:
    """As many whole training patients, in a random order, as come nearest to ``slices`` slices; all that validate stay.

    Raises:
        DataError: the training patients have fewer slices.
    """
    held = validation_rows(real)
    patients = real.index["subject"].astype(str).to_numpy()
    if (~held).sum() < slices:
        raise DataError(
            f"utility.real_at_size_of: there are {(~held).sum()} real training slices, fewer than the {slices} of the "
            "synthetic set: they can't be cut down to its size. Take that source out, and its training out of utility.setups"
        )
    everyone, counts = np.unique(patients[~held], return_counts=True)
    order = np.random.default_rng(seed).permutation(everyone.size)
    enough = 1 + int(np.abs(np.cumsum(counts[order]) - slices).argmin())
    chosen: NDArray[np.bool_] = held | np.isin(patients, everyone[order[:enough]])
    return real.select(chosen)


if __name__ == "__main__":
    run(main)
