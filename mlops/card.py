"""The model card, in Markdown: what a packaged network is, was trained on, can do and must not be used for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.statistics import IntervalSettings
from mlops.connection import flat
from mlops.gate import MASKS, Nested
from mlops.licences import PHANTOM, UNKNOWN
from mlops.records import paper_headlines
from mlops.release import settings_for_release
from mlops.settings import load_params, lookup, section

_ROLES = {
    "train": "learnt from",
    "val": "the best checkpoint was chosen on them",
    "holdout": "never seen; what the privacy figures and the near-copy guard compare with",
}


@dataclass(frozen=True)
class Facts:
    """What a card tells.

    Attributes:
        size: S, rows and columns of a picture.
        record: ``run.json`` of the network.
        figures: of :func:`mlops.gate.figures_of`.
        licences: of each dataset that it was trained on, by name.
        counts: (patients, slices) by split: ``train``, ``val``, ``holdout``.
    """

    model: str
    size: int
    record: Mapping[str, Any]
    figures: Mapping[str, Mapping[str, Nested]]
    licences: Mapping[str, str]
    counts: Mapping[str, tuple[int, int]]


def purpose(model: str) -> str:
    """What a model does, in a sentence."""
    if model == MASKS:
        return "Draws label maps of short-axis cardiac MR (background, LV, MYO, RV) from seeds."
    return f"Draws short-axis cardiac MR slices for given label maps (background, LV, MYO, RV), with the generator “{model}”."


def summary(facts: Facts) -> str:
    """The same for one version: data, licences, training. A registry shows it beside the version."""
    patients, slices = facts.counts["train"]
    licences = ", ".join(f"{name} ({licence})" for name, licence in facts.licences.items())
    return (
        f"{facts.size} × {facts.size} pixels. Learnt from {slices} slices of {patients} patients of {licences}. Seed "
        f"{facts.record['seed']}. card.md among its artifacts tells the rest."
    )


def card(root: Path, facts: Facts) -> str:
    """The whole card, in Markdown. It follows from the training and its figures alone: verdicts are in the signed approval."""
    parts = [
        f"# syncmri-{facts.model}\n\n{purpose(facts.model)}\n\n{summary(facts)}",
        "## Data\n\n" + "\n".join(_data(facts)),
        "## Limits of use\n\n" + "\n".join(f"- {line}" for line in _limits_of_use(facts)),
        "## Figures\n\n" + "\n".join(_figures(root, facts)),
        "## Use\n\n" + "\n".join(_use(facts)),
        "## Parameters\n\n" + "\n".join(_parameters(root, facts)),
    ]
    return "\n\n".join(parts) + "\n"


def _data(facts: Facts) -> Iterator[str]:
    yield from (f"- {name}: licence {licence}{_phantom(licence)}" for name, licence in facts.licences.items())
    yield ""
    yield from _table(
        ["split", "patients", "slices", "for this model"],
        ([split, *map(str, counts), _ROLES[split]] for split, counts in facts.counts.items()),
    )


def _phantom(licence: str) -> str:
    return ". Built-in phantoms, drawn by a program: this model knows no patient" if licence == PHANTOM else ""


def _limits_of_use(facts: Facts) -> Iterator[str]:
    yield "For research, teaching and testing of software. Not for diagnosis, and no substitute for scans of patients."
    yield "It knows the anatomy, scanners and diseases of its training data, and nothing else; so do segmenters trained on it."
    yield "A generator may repeat what it learnt from: the privacy figures say how much was found, not that there is none."
    yield "The near-copy guard that belongs to it is derived from its training patients: it stays in house, as their names do."
    if any("NC" in licence.upper().replace("-", " ").split() for licence in facts.licences.values()):
        yield "A licence of its data allows no commercial use; what is drawn from it is passed on under the same terms."
    if UNKNOWN in facts.licences.values():
        yield "A licence of its data is not stated (`data.licences`): ask before anything is passed on."


def _figures(root: Path, facts: Facts) -> Iterator[str]:
    share = section("evaluation", IntervalSettings, root).confidence
    yield f"Intervals of {share:.0%}, clustered by patient. All figures, with floors and single structures: figures.json.\n"
    named = {f"{axis}/{name}": figure for axis, figures in facts.figures.items() for name, figure in figures.items()}
    shown = (_figure(name, figure) for name, figure in paper_headlines(named).items())
    yield from _table(["figure", "value", "interval", "N"], shown)


def _figure(name: str, figure: Nested) -> list[str]:
    if figure.get("value") is None:
        return [name, "–", str(figure.get("reason") or "no reason given"), ""]
    low, high = figure.get("ci_low"), figure.get("ci_high")
    interval = "" if low is None or high is None else f"{_number(low)} to {_number(high)}"
    return [name, _number(figure["value"]), interval, str(figure.get("n", ""))]


def _use(facts: Facts) -> Iterator[str]:
    size = facts.size
    name, given = ("seeds", "(N,) int64") if facts.model == MASKS else ("masks", f"(N, 4, {size}, {size}) float32, one-hot")
    made = f"(N, 4, {size}, {size}) float32, one-hot" if facts.model == MASKS else f"(N, 1, {size}, {size}) float32 in [-1, 1]"
    seed = "" if facts.model == MASKS else '"seed": 1, '
    yield f"`{name}` {given} → {made}. Parameters and their meaning: pyfunc_model.py beside this card.\n"
    yield "    import mlflow"
    yield f'    model = mlflow.pyfunc.load_model("models:/syncmri-{facts.model}@approved")'
    yield f'    drawn = model.predict({{"{name}": {name}}}, params={{{seed}"steps": 0}})'


def _parameters(root: Path, facts: Facts) -> Iterator[str]:
    sampling = {"sampling": lookup(load_params(root), f"{facts.model}.sampling")}
    values = flat(
        {
            **settings_for_release(facts.record["params"]),
            **sampling,
            "seed": facts.record["seed"],
            "run_key": facts.record["run_key"],
        }
    )
    yield from _table(["parameter", "value"], ([f"`{key}`", text] for key, text in values.items()))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    yield from (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
