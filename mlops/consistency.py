"""What must agree between the sections of ``params.yaml``, beyond the type of each value."""

import re
from collections.abc import Iterator
from typing import Any

from cmr.errors import DataError
from cmr.readers import READERS
from mlops.faults import nearest
from mlops.settings import DataSettings, GeneratorsSettings, PhantomData, autoencoder_fault
from models.registry import GENERATORS, generator_class, mask_model_class


def disagreements(checked: dict[str, Any]) -> list[str]:
    """Faults between sections that are each well typed, one sentence each, led by the dotted key.

    Args:
        checked: the checked sections by dotted key, as :func:`mlops.settings.validate_all` makes them.
    """
    return [
        *_data(checked["data"]),
        *_phantom(checked["phantom"], checked["data"]),
        *_generators(checked["generators"], checked["data"]),
        *_setups(checked["utility.setups"], checked["generators"], checked["data"], _further(checked)),
        *_combined(checked),
        *_sweeps(checked),
        *_masks(checked),
        *(fault for name in GENERATORS if f"{name}.network" in checked for fault in _generator(name, checked)),
    ]


def _generator(name: str, checked: dict[str, Any]) -> Iterator[str]:
    kind, sampling, train = generator_class(name), checked[f"{name}.sampling"], checked[f"{name}.train"]
    yield from _samplers(name, kind.samplers, [("sampling", sampling), ("validation", checked[f"{name}.validation"])])
    if sampling.guidance != 1 and train.mask_drop == 0:
        told = f"found {sampling.guidance}, but the training leaves no mask out ({name}.train.mask_drop: 0)"
        yield f"{name}.sampling.guidance: {told}."
    if fault := autoencoder_fault(name, checked[f"{name}.autoencoder"]):
        yield fault


def _masks(checked: dict[str, Any]) -> Iterator[str]:
    kind = mask_model_class(checked["masks.network"].kind)
    yield from _samplers("masks", kind.samplers, [("sampling", checked["masks.sampling"])])


def _sweeps(checked: dict[str, Any]) -> Iterator[str]:
    known = ["masks", "segmenter", *checked["generators"].names]
    yield from _unknown("sweep.networks", checked["sweep.networks"], known, "networks")


def _samplers(name: str, known: tuple[str, ...], blocks: list[tuple[str, Any]]) -> Iterator[str]:
    for block, settings in blocks:
        yield from _unknown(f"{name}.{block}.sampler", [settings.sampler], list(known), f"samplers of {name}")


def _data(data: DataSettings) -> Iterator[str]:
    if not data.raw:
        yield "data.raw: found no dataset, expected at least one."
    for name, raw in data.raw.items():
        # The name becomes a part of stage names (sample@ddpm-NAME) and of folders, beside the sources `full` and `test`.
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in ("full", "test"):
            yield f"data.raw.{name}: a dataset's name is small letters, digits and _, and neither 'full' nor 'test'."
        yield from _unknown(f"data.raw.{name}.reader", [raw.reader], list(READERS), "readers")


def _phantom(phantom: PhantomData, data: DataSettings) -> Iterator[str]:
    from cmr.phantom import PhantomSettings

    try:
        PhantomSettings(slices=phantom.slices, matrix=phantom.matrix)
    except DataError as error:
        yield str(error)
    yield from _unknown("phantom.datasets", phantom.datasets, list(data.raw), "datasets of data.raw")
    yield from _unknown("phantom.datasets", phantom.datasets, list(phantom.patients), "datasets of phantom.patients")
    for name in phantom.datasets:
        root = data.raw[name].root if name in data.raw else None
        if root not in (None, f"data/phantom/{name}"):
            yield f"data.raw.{name}.root: found '{root}', expected 'data/phantom/{name}', as phantom.datasets names it."


def _generators(generators: GeneratorsSettings, data: DataSettings) -> Iterator[str]:
    datasets = list(data.raw)
    yield from _unknown("generators.names", generators.names, list(GENERATORS), "generators")
    yield from _unknown("generators.train_on", generators.train_on, datasets, "datasets of data.raw")
    yield from _unknown("generators.sources", generators.sources, ["full", "test", *datasets], "mask sources")
    for key in ("names", "train_on", "sources"):
        values = getattr(generators, key)
        if not values or len(set(values)) < len(values):
            yield f"generators.{key}: found {list(values)}, expected at least one entry and none twice."


def _setups(setups: tuple[str, ...], generators: GeneratorsSettings, data: DataSettings, further: list[str]) -> Iterator[str]:
    allowed = [*(f"{name}-real" for name in data.raw), *_synthetic(generators), *further]
    yield from _unknown("utility.setups", setups, allowed, "trainings that data.raw, generators and utility allow")
    if len(set(setups)) < len(setups):
        yield f"utility.setups: found {list(setups)}, expected no setup twice."
    needed = [f"{name}-real" for name in generators.train_on[:1]]
    if missing := [name for name in needed if name not in setups]:
        yield f"utility.setups: '{missing[0]}' is missing: the segmenter trained on it reads every generator's mask adherence."


def _synthetic(generators: GeneratorsSettings) -> list[str]:
    return [f"{name}-{source}" for name in generators.names for source in generators.sources if source != "test"]


def _further(checked: dict[str, Any]) -> list[str]:
    """The training sets that the stage `combine` makes."""
    real = [f"{name}-real" for name in checked["generators"].train_on[:1]]
    made = {"and": checked["utility.with_real"], "as": checked["utility.real_at_size_of"]}
    return [f"{name}-{how}-{other}" for name in real for how, others in made.items() for other in others]


def _combined(checked: dict[str, Any]) -> Iterator[str]:
    generators = checked["generators"]
    sources = [source for source in generators.sources if source != "test"]
    yield from _unknown("utility.with_real", checked["utility.with_real"], _synthetic(generators), "synthetic sets")
    yield from _unknown("utility.real_at_size_of", checked["utility.real_at_size_of"], sources, "mask sources")
    for key in ("with_real", "real_at_size_of", "more_seeds"):
        values = checked[f"utility.{key}"]
        if len(set(values)) < len(values):
            yield f"utility.{key}: found {list(values)}, expected none twice."
    if checked["seed"] in checked["utility.more_seeds"] or min(checked["utility.more_seeds"], default=0) < 0:
        yield f"utility.more_seeds: found {list(checked['utility.more_seeds'])}, expected seeds from 0 on other than `seed`."


def _unknown(key: str, found: Any, known: list[str], what: str) -> Iterator[str]:
    for name in found:
        if name not in known:
            yield f"{key}: found '{name}', expected one of the {what}: {', '.join(known) or 'none'}.{nearest(name, known)}"
