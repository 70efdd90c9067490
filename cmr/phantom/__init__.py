"""The built-in phantom: two small datasets in the official raw layouts, so that the first command needs no download."""

from cmr.phantom.patient import PhantomSettings
from cmr.phantom.write import write_phantom

__all__ = ["PhantomSettings", "write_phantom"]
