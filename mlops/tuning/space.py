"""The typed search space of a network: the block ``search`` beside its settings in ``params.yaml``."""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from cmr.errors import DataError
from mlops.faults import known_keys, nearest

FORBID = {"extra": "forbid"}
DIRECTIONS = {
    "kid": "min",
    "frechet": "min",
    "adherence": "max",
    "membership": "min",
    "shapes": "min",
    "valid_share": "max",
}
"""Every objective, and which way is better: docs/tuning.md says what each one is."""
OF_GENERATORS = ("kid", "frechet", "adherence", "membership")
OF_MASKS = ("shapes", "valid_share", "membership")
WITH_INCEPTION = "kid"


@dataclass(frozen=True)
class Domain:
    """What one parameter may be: any number from ``low`` to ``high`` (both included), or one of ``choices``."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    """Numbers are spread evenly over their logarithm: as many between 0.001 and 0.01 as between 0.01 and 0.1."""
    choices: tuple[Any, ...] | None = None
    """A choice may be a mapping where the key names a block: its values then change together, as widths and attention must."""

    def __post_init__(self) -> None:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("give 'choices', or 'low' and 'high', not both")
            if len({json.dumps(choice) for choice in self.choices}) < max(2, len(self.choices)):
                raise ValueError(f"choices are {list(self.choices)}; expected at least two, none twice")
        elif self.low is None or self.high is None:
            raise ValueError("expected 'low' and 'high', or 'choices'")
        elif self.low >= self.high:
            raise ValueError(f"the range is empty: low is {self.low}, high is {self.high}")
        elif self.log and self.low <= 0:
            raise ValueError(f"with 'log' the range starts above 0, found low {self.low}")

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that show whether all are allowed."""
        return (self.low, self.high) if self.choices is None else self.choices

    def holds(self, value: Any) -> bool:
        """Whether the value is one of them."""
        if self.low is None or self.high is None:
            return value in (self.choices or ())
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def whole(self, now: Any) -> bool:
        """Whether the range means whole numbers: both of its ends are, and so is the parameter's present value."""
        return all(isinstance(value, int) and not isinstance(value, bool) for value in (self.low, self.high, now))


@dataclass(frozen=True)
class SearchSettings:
    """How the parameters of one network are searched: ``syncmri tune NET``."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID
    metric: Literal["validation", "kid"]
    """What a trial is ranked by, and stopped early on: the training's own validation score, or KID of ``images`` images."""
    objectives: tuple[str, ...]
    """What ``--objectives several`` weighs against one another at the end of each trial."""
    trials: int
    max_steps: int
    """Optimisation steps of a trial; the training's own budget stays."""
    images: int
    """Images, or masks, that KID and the objectives are computed of."""
    silence_minutes: float
    """A trial without a sign of life for so long hangs: it is stopped and counts as failed."""
    space: dict[str, Domain]
    """Parameters of the network by dotted key, such as ``train.learning_rate``."""

    def __post_init__(self) -> None:
        if min(self.trials, self.max_steps) < 1 or self.images < 2 or self.silence_minutes <= 0:
            raise ValueError("trials and max_steps must be at least 1, images at least 2, silence_minutes above 0")
        if not self.space:
            raise ValueError("the space is empty: name at least one parameter")


def faults(params: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the search spaces in parameters that are otherwise valid, one sentence each, led by the dotted key."""
    from mlops.settings import check

    for network, block in params.items():
        if not isinstance(block, Mapping) or "search" not in block:
            continue
        search = check(block["search"], SearchSettings, f"{network}.search")
        yield from _metrics(network, search)
        for key, domain in search.space.items():
            yield from _parameter(params, network, key, domain)


def value_at(block: Mapping[str, Any], key: str) -> Any:
    """The value under a dotted key; KeyError where there is none."""
    found: Any = block
    for part in filter(None, key.split(".")):
        if not isinstance(found, Mapping):
            raise KeyError(key)
        found = found[part]
    return found


def leaves(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the dotted keys of single parameters, those of blocks taken apart."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        inside = {f"{key}.{below}": one for below, one in value.items()} if isinstance(value, Mapping) else {}
        found |= leaves(inside) if inside else {key: value}
    return found


def _metrics(network: str, search: SearchSettings) -> Iterator[str]:
    allowed = {"masks": OF_MASKS, "segmenter": ()}.get(network, OF_GENERATORS)
    if search.metric == WITH_INCEPTION and WITH_INCEPTION not in allowed:
        yield f"{network}.search.metric: found 'kid', which is for images of generators; expected 'validation'."
    for name in search.objectives:
        if name not in allowed:
            told = f"expected one of: {', '.join(allowed)}." if allowed else "a segmenter has one: leave the list empty."
            yield f"{network}.search.objectives: found '{name}', {told}{nearest(name, list(allowed))}"
    if len(search.objectives) == 1 or len(set(search.objectives)) < len(search.objectives):
        yield f"{network}.search.objectives: found {list(search.objectives)}, expected at least two, none twice."


def _parameter(params: Mapping[str, Any], network: str, key: str, domain: Domain) -> Iterator[str]:
    from mlops.settings import check, resolve, sections

    name, part = f"{network}.search.space.{key}", key.partition(".")[0]
    own = {other: block for other, block in params[network].items() if other != "search"}
    kind = sections(dict(params)).get(f"{network}.{part}")
    known = known_keys(own)
    for value in domain.extremes:
        single = leaves({key: value})
        wrong = [one for one in single if kind is None or one not in known or isinstance(value_at(own, one), Mapping)]
        if wrong:
            yield f"{name}: {network} has no such parameter '{wrong[0]}'.{nearest(wrong[0], known)}"
            return
        changed = copy.deepcopy(own)
        for one, inside in single.items():
            block, _, last = one.rpartition(".")
            value_at(changed, block)[last] = inside
        try:
            check(changed[part], resolve(kind), f"{network}.{part}")
        except DataError as error:
            told = "; ".join(getattr(error, "faults", [str(error)]))
            yield f"{name}: cannot be {json.dumps(value)}: {told}"
