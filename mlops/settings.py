"""``params.yaml`` checked, part by part, into the settings dataclasses of the rooms that use them.

Types are taken strictly: a text is no number and a boolean no integer; a whole number is accepted where a fraction is meant.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import TypeAdapter, ValidationError

from cmr.errors import DataError, DataErrors
from mlops.faults import describe, known_keys, nearest
from mlops.yaml_files import read_yaml

T = TypeVar("T")
PARAMS = "params.yaml"
FORBID = {"extra": "forbid"}


@dataclass(frozen=True)
class RawSettings:
    """Where one dataset's raw files lie (relative to the project root, or absolute) and which reader understands them."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID
    root: str
    reader: str


@dataclass(frozen=True)
class DataSettings:
    """The raw datasets by name; ``skip_bad`` reports and leaves out a faulty subject where otherwise the run stops;
    ``excluded`` are patients who withdrew their consent, as DATASET/PATIENT; ``licences`` those of the datasets, by name."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID
    raw: dict[str, RawSettings]
    skip_bad: bool
    excluded: tuple[str, ...] = ()
    licences: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if odd := [name for name, licence in self.licences.items() if not licence.strip() or "," in licence]:
            raise ValueError(f"the licence of {', '.join(odd)} is empty or has a comma; expected a short name, CC BY-NC-SA 4.0")
        if odd := [name for name in self.excluded if not all(name.partition("/"))]:
            raise ValueError(f"excluded names {', '.join(odd)}; DATASET/PATIENT was expected, such as acdc/patient001")

    def excluded_of(self, dataset: str) -> tuple[str, ...]:
        """The excluded patients of one dataset."""
        return tuple(name.removeprefix(f"{dataset}/") for name in self.excluded if name.startswith(f"{dataset}/"))


@dataclass(frozen=True)
class PhantomData:
    """Which datasets are phantoms (none: all data is real), and how many and how large their patients are."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID
    datasets: tuple[str, ...]
    patients: dict[str, dict[str, int]]
    slices: int
    matrix: int


@dataclass(frozen=True)
class GeneratorsSettings:
    """Which generators are trained, on which datasets and how many of their patients (None: all), and whose masks they are
    sampled from."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID
    names: tuple[str, ...]
    train_on: tuple[str, ...]
    patients: int | None
    sources: tuple[str, ...]


@dataclass(frozen=True)
class TrainerSettings:
    """How a training is shared: ``workers`` processes train one network together. It changes no result beyond rounding."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID
    workers: int

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, found {self.workers}")


# Dotted key -> a type, or "module:Class" where importing the class is worth putting off (the networks' files need torch).
SECTIONS: dict[str, Any] = {
    "profile": str,
    "seed": int,
    "data": DataSettings,
    "phantom": PhantomData,
    "preprocess": "cmr.preprocess:PreprocessSettings",
    "splits": "cmr.splits:SplitSettings",
    "slices": "cmr.slices:SliceSettings",
    "privacy.holdout": "cmr.splits:HoldoutSettings",
    "privacy.neighbours": "evaluation.privacy.neighbours:NeighbourSettings",
    "privacy.membership": "evaluation.privacy.membership.settings:MembershipSettings",
    "privacy.control": "evaluation.privacy.membership.settings:ControlSettings",
    "train": TrainerSettings,
    "augment": "models.config:AugmentSettings",
    "validation.images": int,
    "generators": GeneratorsSettings,
    "masks.train": "models.config:TrainSettings",
    "masks.sampling": "models.config:MaskSamplingSettings",
    "segmenter.network": "models.segmenter:SegmenterNetwork",
    "segmenter.train": "models.config:TrainSettings",
    "masks.search": "mlops.tuning.space:SearchSettings",
    "segmenter.search": "mlops.tuning.space:SearchSettings",
    "sweep.networks": tuple[str, ...],
    "utility.setups": tuple[str, ...],
    "utility.with_real": tuple[str, ...],
    "utility.real_at_size_of": tuple[str, ...],
    "utility.more_seeds": tuple[int, ...],
    "evaluation": "evaluation.statistics:IntervalSettings",
    "gate": "mlops.gate:GateSettings",
    "tracking.experiment": str,
}
_OF_A_GENERATOR = {
    "autoencoder": "models.vqvae:Autoencoder",
    "train": "models.config:GeneratorTrainSettings",
    "validation": "models.config:CheckSettings",
    "sampling": "models.config:ImageSamplingSettings",
    "search": "mlops.tuning.space:SearchSettings",
}


def sections(params: dict[str, Any]) -> dict[str, Any]:
    """:data:`SECTIONS`, that of the mask model's kind, and those of each registered generator that ``params`` describes."""
    from models.registry import GENERATORS, mask_settings  # models brings torch, which most stages can do without

    generators = params.get("generators")
    named = generators.get("names") if isinstance(generators, dict) else None
    wanted = [name for name in GENERATORS if name in params or (isinstance(named, list) and name in named)]
    found = dict(SECTIONS)
    found["masks.network"] = mask_settings(params)
    for name in wanted:
        found[f"{name}.network"] = f"{GENERATORS[name]}.Config"
        found |= {f"{name}.{part}": kind for part, kind in _OF_A_GENERATOR.items()}
    return found


def find_root(start: Path | None = None) -> Path:
    """The DVC root at or above ``start`` (the working directory), absolute; :class:`DataError` where there is none."""
    start = (start or Path.cwd()).absolute()
    for folder in (start, *start.parents):
        if (folder / ".dvc").is_dir():
            return folder
    raise DataError(
        f"{start}: neither this folder nor one above it is a SynCMRI project (no .dvc folder found). Change into your checkout."
    )


def load_params(root: Path = Path(".")) -> dict[str, Any]:
    """``params.yaml`` of the project at ``root``, unchecked.

    Raises:
        DataError: there is none, or it is not YAML.
    """
    return read_yaml(root / PARAMS)


def section(name: str, cls: type[T], root: Path = Path(".")) -> T:
    """One part of ``params.yaml``, and only that, checked into ``cls``.

    Args:
        name: dotted key, such as ``slices`` or ``ddpm.train``.
        cls: a settings dataclass or a plain type (``int``, ``tuple[str, ...]``).

    Raises:
        DataError: names the dotted key, what was found and what was expected.
    """
    return check(lookup(load_params(root), name), cls, name)


def lookup(params: dict[str, Any], name: str) -> Any:
    """The value under a dotted key; :class:`DataError` naming the nearest known key where there is none."""
    value: Any = params
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise DataError(f"{PARAMS}: there is no key '{name}'.{nearest(name, known_keys(params))}")
        value = value[part]
    return value


def check(value: Any, cls: type[T], name: str) -> T:
    """``value`` as ``cls``; every fault below ``name`` is listed. Raises :class:`DataErrors`."""
    try:
        # Strict JSON is what is wanted: lists make tuples and mappings dataclasses, yet no text becomes a number.
        return TypeAdapter(cls).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        faults = [describe(fault, cls, name) for fault in error.errors(include_url=False)]
        raise DataErrors(f"{PARAMS}: {len(faults)} setting(s) cannot be used:", faults) from error


def generator_config(params: dict[str, Any], name: str) -> Any:
    """The complete settings of a generator's network: its ``network`` block, for one of latents its autoencoder's, and for one
    with a linear denoiser the size of the slices.

    Raises:
        DataError: there is no such generator, a setting cannot be used, or an autoencoder is missing or not wanted.
    """
    from models.registry import network_config

    config: Any = check(lookup(params, f"{name}.network"), network_config(name), f"{name}.network")
    autoencoder = check(lookup(params, f"{name}.autoencoder"), resolve(_OF_A_GENERATOR["autoencoder"]), f"{name}.autoencoder")
    if fault := autoencoder_fault(name, autoencoder):
        raise DataError(fault)
    if autoencoder is not None:
        config = replace(config, autoencoder=autoencoder.network)
    if getattr(config, "gaussian", None) is not None:
        config = replace(
            config, gaussian=replace(config.gaussian, size=check(lookup(params, "slices.size"), int, "slices.size"))
        )
    return config


def mask_config(params: dict[str, Any]) -> Any:
    """The settings of the mask model's network; :class:`DataErrors` where they cannot be used."""
    return check(lookup(params, "masks.network"), resolve(sections(params)["masks.network"]), "masks.network")


def autoencoder_fault(name: str, autoencoder: Any) -> str:
    """Why these settings of a generator's autoencoder, or None, do not fit the generator; empty where they do."""
    from models.registry import network_config

    of_latents = "autoencoder" in {field.name for field in fields(network_config(name))}
    if of_latents == (autoencoder is not None):
        return ""
    expected = "settings of an autoencoder, since it draws latents" if of_latents else "null, since it draws pixels"
    return f"{name}.autoencoder: expected {expected}. profiles/paper.yaml shows how."


def validate_all(params: dict[str, Any]) -> None:
    """Check every section and what must agree between sections; imports the networks' settings, hence torch.

    Raises:
        DataErrors: every fault, each with its dotted key, what was found and what was expected.
    """
    expected = sections(params)
    faults = list(_unknown_sections(params, expected))
    checked: dict[str, Any] = {}
    for name, kind in expected.items():
        try:
            checked[name] = check(lookup(params, name), resolve(kind), name)
        except DataErrors as error:
            faults += error.faults
        except DataError as error:
            faults.append(str(error))
    if not faults:
        from mlops.consistency import disagreements  # it needs the sections declared above
        from mlops.tuning import space

        faults = disagreements(checked) or list(space.faults(params))
    if faults:
        raise DataErrors(f"{PARAMS}: {len(faults)} setting(s) cannot be used:", faults)


def _unknown_sections(params: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    parents = {"": list(dict.fromkeys(name.split(".")[0] for name in expected))}
    for name in expected:
        if "." in name:
            parent, child = name.split(".")
            parents.setdefault(parent, []).append(child)
    for parent, children in parents.items():
        block = params if not parent else params.get(parent, {})
        for key in block if isinstance(block, dict) else ():
            if key not in children:
                yield f"{parent + '.' if parent else ''}{key}: unknown key.{nearest(str(key), children)}"


def resolve(kind: Any) -> Any:
    """The type behind an entry of :func:`sections`."""
    if not isinstance(kind, str):
        return kind
    module, path = kind.split(":")
    found: Any = import_module(module)
    for attribute in path.split("."):
        found = getattr(found, attribute)
    return found
