"""Slices and masks as small pictures inside the page: the slice's own pixels, structure outlines as vector paths over them."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cmr.labels import STRUCTURES
from pipelines.reporting.names import STRUCTURE_COLOURS

LABELS = 130  # pixels left of a grid for the names of its rows


@dataclass(frozen=True)
class Tile:
    """One picture: ``source`` is a PNG data URI of S × S pixels, ``outlines`` are (structure, SVG path) pairs over it."""

    source: str
    size: int
    alt: str
    caption: str = ""
    outlines: tuple[tuple[str, str], ...] = ()
    smooth: bool = True


@dataclass(frozen=True)
class Strip:
    """A row of tiles under one heading."""

    title: str
    tiles: tuple[Tile, ...]


def image_tile(image: NDArray[np.floating], alt: str, caption: str = "", mask: NDArray[np.uint8] | None = None) -> Tile:
    """A slice (S, S) in [-1, 1] as a grey picture, with the outlines of ``mask`` (S, S) if given."""
    grey = np.clip((np.asarray(image, dtype=np.float32) + 1) * 127.5, 0, 255).round().astype(np.uint8)
    return Tile(_data_uri(Image.fromarray(grey)), grey.shape[0], alt, caption, () if mask is None else outlines(mask))


def mask_tile(mask: NDArray[np.uint8], alt: str, caption: str = "") -> Tile:
    """A mask (S, S), labels 0-3, as a picture in the structures' colours."""
    picture = Image.fromarray(np.asarray(mask, dtype=np.uint8))
    picture.putpalette(list(_palette().ravel()))
    return Tile(_data_uri(picture), mask.shape[0], alt, caption, smooth=False)


def outlines(mask: NDArray[np.uint8]) -> tuple[tuple[str, str], ...]:
    """The outline of every structure present in ``mask`` (S, S) as SVG path data in pixel units, (0, 0) the top-left corner."""
    found = []
    padded = np.pad(np.asarray(mask), 1)
    # Neighbours share an edge: the LV's outline is drawn last, over the myocardium's inner one.
    for structure, label in reversed(STRUCTURES.items()):
        lines = contour_generator(z=(padded == label).astype(float)).lines(0.5)
        # Pixel centres lie at half-integers; padding moved everything by one pixel.
        path = "".join("M" + "L".join(f"{x - 0.5:.1f} {y - 0.5:.1f}" for x, y in np.asarray(line)) for line in lines)
        if path:
            found.append((structure, path))
    return tuple(found)


def file_uri(path: Path) -> str:
    """A PNG file as a data URI; empty where there is none."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii") if path.is_file() else ""


def grid_picture(rows: Sequence[tuple[str, Sequence[NDArray]]]) -> Image.Image:
    """Named rows of slices (S, S) in [-1, 1] and masks (S, S) uint8 as one RGB picture, for DVC and viewers of plain files."""
    pictures = [[_rgb(array) for array in row] for _, row in rows]
    size, gap, scale = pictures[0][0].shape[0], 2, max(1, round(128 / pictures[0][0].shape[0]))
    width = max(map(len, pictures))
    sheet = np.full((len(pictures) * (size + gap) - gap, width * (size + gap) - gap, 3), 255, dtype=np.uint8)
    for y, row in enumerate(pictures):
        for x, picture in enumerate(row):
            sheet[y * (size + gap) : y * (size + gap) + size, x * (size + gap) : x * (size + gap) + size] = picture
    grid = Image.fromarray(sheet).resize((sheet.shape[1] * scale, sheet.shape[0] * scale), Image.Resampling.NEAREST)
    named = Image.new("RGB", (grid.width + LABELS, grid.height), "white")
    named.paste(grid, (LABELS, 0))
    draw, font = ImageDraw.Draw(named), ImageFont.load_default(15)
    for place, (name, _) in enumerate(rows):
        middle = scale * (place * (size + gap) + size / 2)
        draw.text((LABELS - 10, middle), name, fill="black", font=font, anchor="rm")
    return named


def _rgb(array: NDArray) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return _palette()[array]
    grey = np.clip((np.asarray(array, dtype=np.float32) + 1) * 127.5, 0, 255).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _palette() -> NDArray[np.uint8]:
    colours = ["#15181d", *STRUCTURE_COLOURS.values()]
    return np.array([list(bytes.fromhex(colour[1:])) for colour in colours], dtype=np.uint8)


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
