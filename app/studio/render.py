"""The studio's own pieces of HTML: what was drawn, messages, the registry's state."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from app.studio.drawing import Drawn
from app.studio.model_cache import Offer
from app.studio.pictures import COLOURS, grey_url, mask_url
from cmr.labels import LV, MYO, RV
from mlops import registry
from mlops.approvals.keys import keys_folder
from mlops.approvals.statement import Statement
from mlops.approvals.store import read_chain
from mlops.connection import Tracking, connect, explained
from mlops.lineage import WITHDRAWN
from mlops.promotion import REFUSED

_PASSWORD = re.compile(r"//[^/\s]*@")
_QUOTED = re.compile(r"(['\"])(?:file:|\w+:)?/+[^'\"\n]*/[^'\"\n]*\1")
_LEADING = re.compile(r"^(?:file:)?/+[^:\n]*/[^:\n]*(?=:)", re.MULTILINE)  # our messages begin with the file, then a colon
_REST = r"[^\s'\",;:()<>]*"
_HIDDEN = "(a file of the server)"
_FOLDERS = re.compile(r"(?<![\w:/.])(?:file:|\w+:)?/+(?:[^\s/'\",;:()<>]+/)+[^\s'\",;:()<>]*")
_NAMES = {LV: "Left ventricle", MYO: "Myocardium", RV: "Right ventricle"}
_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


_PLACES: set[str] = set()


@dataclass(frozen=True)
class _Life:
    """A model in the registry: all its versions, newest first, and what happened to them, newest first.

    ``facts``: version -> licences and datasets by its signed statement. Tags in MLflow could be anybody's.
    """

    name: str
    versions: Sequence[registry.Version]
    events: Sequence[Statement]
    facts: Mapping[int, Mapping[str, Any]]
    withdrawn: Sequence[int]
    override: Mapping[int, str]


def results(drawn: Sequence[Drawn]) -> str:
    """Each generator's mask, image, overlay, the way from noise, and what the comparison with its training slices said."""
    cards = [
        {
            "one": one,
            "approved": one.approved,
            "licences": ", ".join(one.approved.licences),
            "train_on": ", ".join(one.approved.train_on),
            "mask": mask_url(one.mask),
            "layer": mask_url(one.mask, transparent=True),
            "image": None if one.image is None else grey_url(one.image),
            "frames": [(int(100 * done), grey_url(frame)) for done, frame in one.frames],
        }
        for one in drawn
    ]
    return _page("results", cards=cards, legend=_legend())


def message(text: str, kind: str = "note") -> str:
    """A sentence for the user; ``kind``: ``note`` or ``fault``."""
    return _page("message", text=text, kind=kind)


def download(key: str | None = None) -> str:
    """The link to an archive, or a button without effect where there is none."""
    return _page("download", key=key)


def picker() -> str:
    """The button for a file, which ``upload.js`` sends."""
    return _page("upload")


def missing(offers: Sequence[Offer]) -> str:
    """The models that can't be used now, and why."""
    return _page("missing", offers=[offer for offer in offers if offer.number is None])


def registry_state(root: Path) -> str:
    """Every registered model: versions, aliases, overrides, refusals, history.

    Raises:
        TrackingError: the registry can't be reached.
    """
    with explained(root):
        tracking = connect(root)
        lives = [_life(tracking, model) for model in registry.MODELS]
    return _page("registry", lives=lives, refused=REFUSED, now=datetime.now(UTC).strftime("%H:%M:%S"))


def _life(tracking: Tracking, model: str) -> _Life:
    chain, versions = read_chain(tracking, model), registry.versions(tracking, model)
    in_force = {statement.version: statement for statement in chain.approvals}
    return _Life(
        registry.registered_name(model),
        versions,
        chain.history[::-1],
        {statement.version: statement.about for statement in chain.history if statement.about},
        [one.number for one in versions if one.digest in chain.withdrawn or WITHDRAWN in one.tags],
        {number: statement.override for number, statement in in_force.items() if statement.override},
    )


def editor() -> str:
    """The frame of the mask editor, which ``editor.js`` brings to life."""
    return _page("editor", legend=_legend())


def _legend() -> Mapping[int, tuple[str, str]]:
    return {label: (_NAMES[label], "#{:02x}{:02x}{:02x}".format(*colour)) for label, colour in COLOURS.items()}


def _page(name: str, **values: Any) -> str:
    return _PAGES.get_template(f"{name}.html.j2").render(**values)


def hide(*places: Path) -> None:
    """Let :func:`plain` take these folders out as they are written: no pattern tells where a name with blanks ends."""
    for place in places:
        _PLACES.update({str(place), str(place.absolute()), str(place.resolve())})


def plain(text: str) -> str:
    """A sentence without what is the server's own: passwords in addresses, and where its files lie."""
    known = {*_PLACES, str(Path.home()), str(keys_folder()), os.environ.get("MLFLOW_TRACKING_URI", "")}
    known |= {quote(place) for place in known}
    for place in sorted(known, key=len, reverse=True):
        if len(place) > 1:
            text = re.sub(rf"(?:\w+:/{{2,3}})?{re.escape(place)}{_REST}", _HIDDEN, text)
    text = _PASSWORD.sub("//", text)
    for pattern in (_QUOTED, _LEADING, _FOLDERS):
        text = pattern.sub(_HIDDEN, text)
    return text


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M")


_PAGES.filters |= {"day": _day, "plain": plain}
