"""How much is taken from one file: checked from its header, before anything is unpacked or decoded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """What one file may hold at most.

    Attributes:
        bytes: largest size of the file when it is unpacked, and of its pixels as numbers of eight bytes.
        slices: largest number of slices of a volume.
    """

    bytes: int
    slices: int


OWN = Limit(bytes=8 << 30, slices=1_000_000)
"""For files of the person who runs the program: what no scan comes near."""
FOREIGN = Limit(bytes=32 << 20, slices=64)
"""For files that arrive over a network: 16 slices of 512 x 512 pixels, or 64 of 256 x 256."""
