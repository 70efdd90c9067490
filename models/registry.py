"""The generators and the mask models by name. A new one is its file, its line here and its block in ``params.yaml``."""

from dataclasses import make_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from cmr.errors import DataError

# Held as text so that listing the names costs no import of a network library.
GENERATORS: dict[str, str] = {
    "ddpm": "models.ddpm:DDPM",
    "ldm": "models.ldm:LDM",
    "fm": "models.fm:FlowMatching",
}

MASKS = "masks"
"""Name of the mask model among the networks of a project, whichever kind it is."""

MASK_MODELS: dict[str, str] = {
    "one_hot": "models.one_hot:MaskDDPM",
    "distances": "models.distances:MaskFlow",
}
"""By ``masks.network.kind``, the name of the file as well."""

MaskKind = make_dataclass("MaskKind", [("kind", Literal[tuple(MASK_MODELS)])], frozen=True)  # type: ignore[misc]
"""The one setting that the networks of all kinds have."""


def generator_class(name: str) -> Any:
    """The :class:`models.base.Generator` subclass of that name; :class:`DataError` where there is none."""
    if name not in GENERATORS:
        raise DataError(f"There is no generator called '{name}'. Known: {', '.join(sorted(GENERATORS))}.")
    return _class(GENERATORS[name])


def network_config(name: str) -> type:
    """The settings dataclass of a generator's network, as its ``network`` block in ``params.yaml`` is checked against."""
    return generator_class(name).Config


def mask_model_class(kind: str) -> Any:
    """The :class:`models.base.MaskGenerator` subclass of that kind; :class:`DataError` where there is none."""
    if kind not in MASK_MODELS:
        raise DataError(f"There is no kind of mask model called '{kind}'. Known: {', '.join(MASK_MODELS)}.")
    return _class(MASK_MODELS[kind])


def mask_settings(params: dict[str, Any]) -> str:
    """Where the settings class for ``masks.network`` of ``params.yaml`` lies; :data:`MaskKind`, where no known kind is said."""
    try:
        return f"{MASK_MODELS[params['masks']['network']['kind']]}.Config"
    except (KeyError, TypeError):
        return f"{__name__}:{MaskKind.__name__}"


def mask_model(config: Any) -> Any:
    """The untrained mask model of these settings, an instance of some mask model's ``Config``."""
    return mask_model_class(config.kind)(config)


def saved_class(folder: Path, name: str) -> Any:
    """The class of the trained network in a folder, for :func:`models.checkpoint.load_network`.

    Args:
        name: a generator's, or ``masks``: then the folder's own ``config.json`` says which kind.

    Raises:
        DataError: there is no such generator or kind of mask model, or the folder holds no network.
    """
    if name != MASKS:
        return generator_class(name)
    from models.checkpoint import read_config  # brings torch, which listing the names can do without

    return mask_model_class(str(read_config(folder).get("kind")))


def _class(place: str) -> Any:
    module, attribute = place.split(":")
    return getattr(import_module(module), attribute)
