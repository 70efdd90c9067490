"""What the licences of the data allow of a model that was trained on it."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

Use = Literal["research", "commercial"]
USES: tuple[Use, ...] = ("research", "commercial")
UNKNOWN = "not stated"
PHANTOM = "CC0 1.0"
"""Of built-in phantoms: they are drawn by this program and nobody's scans."""
_OPEN = ("CC0", "PDDL", "ODC", "MIT", "APACHE", "BSD")  # families that ask for a mention at most


def allowed_uses(licence: str) -> tuple[Use, ...] | None:
    """The uses that a licence allows of what is made from the data; None where nothing is known of it.

    Creative Commons licences are read from their elements: NC allows no commercial use, ND passes nothing made from it on.

    Args:
        licence: its usual short name, such as ``CC BY-NC-SA 4.0``.
    """
    words = re.split(r"[\s\-]+", licence.upper())
    if words[0] in _OPEN:
        return USES
    if words[:2] != ["CC", "BY"]:
        return None
    if "ND" in words:
        return ()
    return ("research",) if "NC" in words else USES


def forbidden(licences: tuple[str, ...], use: Use | None) -> list[str]:
    """Why a model of data under these licences can't be put to ``use``, a sentence a licence; nothing where it can.

    Args:
        use: that the gate demands; None demands none.
    """
    if use is None:
        return []
    if not licences:
        return [f"gate.use asks for {use} use, and the licences of the data are not known"]
    faults = []
    for licence in licences:
        allowed = allowed_uses(licence)
        if allowed is None:
            faults.append(f"gate.use asks for {use} use, and nothing is known of the licence “{licence}” (data.licences)")
        elif use not in allowed:
            faults.append(f"gate.use asks for {use} use; {licence} allows {' and '.join(allowed) or 'no passing on'} only")
    return faults


def licences_of(datasets: Iterable[str], stated: Mapping[str, str], phantoms: Collection[str]) -> dict[str, str]:
    """Dataset -> its licence: as ``data.licences`` states it, :data:`PHANTOM` for a built-in phantom, else :data:`UNKNOWN`."""
    return {name: PHANTOM if name in phantoms else stated.get(name, UNKNOWN) for name in datasets}
