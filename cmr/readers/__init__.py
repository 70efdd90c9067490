"""Dataset layouts. To add one: write a file beside this one and add its line here (docs/extending.md)."""

from cmr.readers.acdc import AcdcReader
from cmr.readers.base import Reader
from cmr.readers.mnms import MnmsReader

READERS: dict[str, type[Reader]] = {
    "acdc": AcdcReader,
    "mnms": MnmsReader,
}
