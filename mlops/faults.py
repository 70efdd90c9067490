"""Faults of settings in words: what was found, what was expected, and which known name is nearest."""

import difflib
import json
import re
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin


def nearest(name: str, known: list[str]) -> str:
    """A sentence that names the known key most like ``name``, or nothing where none is alike."""
    # A slip in a section's name should not hide a right last part, and the other way round: compare both.
    last = {key.rsplit(".", 1)[-1]: key for key in reversed(known)}
    alike = difflib.get_close_matches(name, known, 1, 0.75)
    alike = alike or [last[match] for match in difflib.get_close_matches(name.rsplit(".", 1)[-1], list(last), 1, 0.6)]
    alike = alike or difflib.get_close_matches(name, known, 1, 0.4)
    return f" Did you mean '{alike[0]}'?" if alike else ""


def known_keys(params: dict[str, Any]) -> list[str]:
    """Every dotted key of ``params``, those of whole sections included."""
    return list(key_paths(params))


def key_paths(params: dict[str, Any], above: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """Every dotted key of ``params`` to the keys on the way to it, which may hold dots themselves (search spaces do)."""
    found = {}
    for key, value in params.items():
        here = (*above, str(key))
        found[".".join(here)] = here
        if isinstance(value, dict):
            found |= key_paths(value, here)
    return found


def describe(fault: Any, cls: Any, name: str) -> str:
    """One pydantic fault in words: dotted key, what was found, what was expected."""
    places = list(fault["loc"])
    key = ".".join([name, *map(str, places)])
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key}: unknown key.{nearest(str(places[-1]), _field_names(cls, places[:-1]))}"
    if fault["type"] == "missing":
        return f"{key}: missing. profiles/paper.yaml has every key with its meaning."
    if fault["type"] == "value_error":  # raised by the dataclass itself, in its own words
        return f"{key}: {fault['msg'].removeprefix('Value error, ')}."
    found = json.dumps(fault["input"], default=str)
    expected = re.sub(r"^Input should be (an? )?(valid )?", "", fault["msg"])
    expected = expected.replace("dictionary", "mapping").replace("object", "mapping").replace("array", "list")
    return f"{key}: found {found}, expected {expected}."


def _field_names(cls: Any, places: list[Any]) -> list[str]:
    """Names of the fields of the dataclass that lies at ``places`` inside ``cls``."""
    for place in places:
        cls = _without_none(cls)
        if is_dataclass(cls):
            cls = next((field.type for field in fields(cls) if field.name == place), None)
        elif get_origin(cls) in (dict, tuple):
            cls = next(argument for argument in reversed(get_args(cls)) if argument is not ...)
    cls = _without_none(cls)
    return [field.name for field in fields(cls)] if is_dataclass(cls) else []


def _without_none(cls: Any) -> Any:
    return next((kind for kind in get_args(cls) if is_dataclass(kind)), cls) if get_origin(cls) is UnionType else cls
