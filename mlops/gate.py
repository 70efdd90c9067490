"""The gate: limits that a model's figures must keep before it may be approved, and the verdict on each.

Pure functions of reports/metrics.json and of `gate` in params.yaml: report and promotion say the same. What counts against a
model is what its figures leave possible, so it is the worse end of an interval that is compared, and a missing figure refuses.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from mlops.licences import Use

FORBID = {"extra": "forbid"}
Axis = Literal["masks", "fidelity", "utility", "privacy"]
MASKS = "masks"  # the name of the mask model; every other model makes images
Nested = Mapping[str, Any]


@dataclass(frozen=True)
class Limit:
    """One limit of one figure; exactly one of ``at_least`` and ``at_most`` is given.

    Attributes:
        at_least, at_most: a number, or the name of another figure of the same axis, whose interval's far end is then the
            bound (its upper end for ``at_most``): a figure beside what chance gives.
        compare: which part of the figure must keep it. ``worst`` is the interval's end that speaks against the model.
            ``best`` is the other one: only what the data show beyond doubt refuses. ``value`` is the figure itself.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID
    at_least: float | str | None = None
    at_most: float | str | None = None
    compare: Literal["worst", "value", "best"] = "worst"

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a limit has either at_least or at_most, and not both")
        if not (self.bound.isidentifier() if isinstance(self.bound, str) else math.isfinite(self.bound)):
            raise ValueError(f"the bound is {self.bound!r}, expected a number or the name of a figure of the same axis")

    @property
    def bound(self) -> float | str:
        found = self.at_most if self.at_least is None else self.at_least
        assert found is not None
        return found

    @property
    def sign(self) -> str:
        return "≤" if self.at_least is None else "≥"


Limits = dict[Axis, dict[str, Limit]]


@dataclass(frozen=True)
class GateSettings:
    """Limits by axis and figure for generators (``images``) and for the mask model (``masks``).

    ``meaning`` says in a sentence what passing is worth; it stands wherever verdicts are shown. ``use`` is what the licences of
    the data must allow; None asks for nothing. ``other_limits`` says what to do with a model that was approved under other
    limits than these: refuse it, or mark it wherever it is used.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID
    meaning: str
    images: Limits
    masks: Limits
    use: Use | None = None
    other_limits: Literal["refuse", "mark"] = "refuse"

    def of(self, model: str) -> Limits:
        return self.masks if model == MASKS else self.images

    def policy(self, model: str) -> dict[str, Any]:
        """What an approval of ``model`` is judged by, as plain values: its limits, and the use that the licences must allow."""
        limits = {
            axis: {
                name: {key: value for key, value in asdict(limit).items() if value is not None} for name, limit in named.items()
            }
            for axis, named in self.of(model).items()
        }
        return {"limits": limits, "use": self.use}


@dataclass(frozen=True)
class Verdict:
    """What became of one limit.

    Attributes:
        figure: the figure as in metrics.json; None where there is none of that name.
        bound: the number that had to be kept; None where it is another figure's and that is missing.
        compared: the number that had to keep it; None where it is missing.
        outcome: ``missing`` refuses as ``fail`` does.
        reason: why it is missing; empty otherwise.
    """

    axis: Axis
    name: str
    limit: Limit
    figure: Nested | None
    bound: float | None
    compared: float | None
    outcome: Literal["pass", "fail", "missing"]
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def figures_of(metrics: Nested, model: str, dataset: str) -> dict[str, dict[str, Nested]]:
    """All figures of one model that a limit can name: axis -> name -> figure.

    Figures that lie deeper are named with underscores: ``floor.nn_l2`` is ``floor_nn_l2``, ``validity.ring.generated`` is
    ``validity_ring_generated``. A generator's utility is that of each of its synthetic sets, tested on ``dataset`` in the
    clinical convention: ``full_dice``, ``full_dice_ratio_to_real``, ``mnms_LV_dice``.

    Args:
        metrics: reports/metrics.json (design §8). A part that is not there gives no figures.
        model: a generator's name, or ``masks``.
        dataset: the first of ``generators.train_on``, whose test patients count.
    """
    privacy = metrics.get("privacy", {}).get(model, {})
    if model == MASKS:
        tree = {"masks": metrics.get("masks", {}), "privacy": privacy}
    else:
        setups = {setup.partition("-"): tests for setup, tests in metrics.get("utility", {}).items()}
        own = {source: tests.get(dataset, {}).get("clinical", {}) for (of, _, source), tests in setups.items() if of == model}
        tree = {"fidelity": metrics.get("fidelity", {}).get(model, {}), "utility": own, "privacy": privacy}
    return {axis: dict(flat_figures(figures)) for axis, figures in tree.items()}


def judge(figures: Mapping[str, Mapping[str, Nested]], limits: Limits) -> list[Verdict]:
    """The verdict on each limit, in the order of the limits.

    Args:
        figures: of :func:`figures_of`.
    """
    return [_judge(axis, name, limit, figures.get(axis, {})) for axis, named in limits.items() for name, limit in named.items()]


def passes(verdicts: Iterable[Verdict]) -> bool:
    """Whether all limits are kept. Without any limit nothing passes: nobody has said what is good enough."""
    verdicts = list(verdicts)
    return bool(verdicts) and all(verdict.outcome == "pass" for verdict in verdicts)


def _judge(axis: Axis, name: str, limit: Limit, figures: Mapping[str, Nested]) -> Verdict:
    figure = figures.get(name)
    upper = limit.at_least is None  # the bound is an upper one
    compared, reason = _part(figure, name, {"worst": upper, "best": not upper, "value": None}[limit.compare])
    bound: float | None
    if isinstance(limit.bound, str):
        bound, unbounded = _part(figures.get(limit.bound), limit.bound, upper)
        reason = reason or unbounded
    else:
        bound = float(limit.bound)
    if compared is None or bound is None:
        return Verdict(axis, name, limit, figure, bound, compared, "missing", reason)
    kept = compared <= bound if upper else compared >= bound
    return Verdict(axis, name, limit, figure, bound, compared, "pass" if kept else "fail")


def _part(figure: Nested | None, name: str, upper: bool | None) -> tuple[float | None, str]:
    """An end of a figure's interval, or its value where ``upper`` is None; or None and why it is missing.

    A figure without an interval stands for itself only if it has none by nature (a count, a p-value): it then gives no reason.
    """
    if figure is None:
        return None, f"there is no figure “{name}”"
    key = {None: "value", True: "ci_high", False: "ci_low"}[upper]
    value, part = figure.get("value"), figure.get(key)
    if value is None:
        return None, str(figure.get("reason") or "no figure, and no reason given")
    if part is None:
        if figure.get("reason"):
            return None, f"no interval: {figure['reason']}"
        part = value
    if isinstance(part, bool) or not isinstance(part, int | float) or not math.isfinite(part):
        return None, f"“{name}” is {part!r}, which is no number"
    return float(part), ""


def flat_figures(node: Nested, prefix: str = "") -> Iterator[tuple[str, Nested]]:
    """(name, figure) of every figure in a tree of them, names joined by underscores."""
    for key, below in node.items():
        if isinstance(below, Mapping):
            if "value" in below:
                yield f"{prefix}{key}", below
            else:
                yield from flat_figures(below, f"{prefix}{key}_")
