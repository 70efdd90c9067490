"""The generators by name. A new one is its file, its line here and its block in ``params.yaml``."""

from importlib import import_module
from typing import Any

from cmr.errors import DataError

# Held as text so that listing the names costs no import of a network library.
GENERATORS: dict[str, str] = {
    "ddpm": "models.ddpm:DDPM",
    "ldm": "models.ldm:LDM",
    "fm": "models.fm:FlowMatching",
}


def generator_class(name: str) -> Any:
    """The :class:`models.base.Generator` subclass of that name; :class:`DataError` where there is none."""
    if name not in GENERATORS:
        raise DataError(f"There is no generator called '{name}'. Known: {', '.join(sorted(GENERATORS))}.")
    module, attribute = GENERATORS[name].split(":")
    return getattr(import_module(module), attribute)


def network_config(name: str) -> type:
    """The settings dataclass of a generator's network, as its ``network`` block in ``params.yaml`` is checked against."""
    return generator_class(name).Config
