"""Finds a project's real slices and masks in pictures, and its patients and places in texts, of whatever leaves the house.

``real_pictures_in`` and ``identifiers_in`` take a text (HTML, SVG, CSS, JSON) or files: folders, pages, pictures, NumPy arrays,
NIfTI volumes and archives of them. Both say what was found, so ``assert not real_pictures_in(page, root)`` explains itself.
"""

import base64
import getpass
import gzip
import html
import io
import json
import re
import socket
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

import nibabel
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageSequence, UnidentifiedImageError
from ruamel.yaml import YAML

from cmr.labels import STRUCTURES
from tests.real_pictures import RealPictures

Source = str | Path | Iterable[Path]

_URI = re.compile(r"data:(image/[\w.+-]+|text/css|text/html)((?:;[\w=.+-]+)*),([^\"'\s)<>]*)", re.IGNORECASE)
_TEXTS = {".html", ".svg", ".css", ".js", ".json", ".md", ".csv", ".tex", ".txt", ".yaml", ".yml", ".toml", ".xml", ""}
_PLACE = re.compile(
    r"(?<![\w.<:/])(?:file:/{1,3}|/(?:home|root|tmp|Users|mnt|media|scratch|var|opt|srv|work|data)/|[A-Z]:\\)[\w.@/\\ -]+"
)


def real_pictures_in(source: Source, root: Path) -> list[str]:
    """Every picture of ``source`` that is a real slice or mask of the project at ``root``, each with what it is.

    Looked at are files and data URIs, in attributes, in CSS, and inside SVGs, at whatever size, mirrored or turned, alone or as
    a tile of a sheet, with or without coloured outlines over them; outlines of structures as vector paths count as masks.
    """
    real = RealPictures(root, real_subjects(root))
    found = []
    for name, content in _pieces(source):
        for number, picture in enumerate(_pictures(name, content)):
            found += [
                f"{name}, picture {number} ({picture.shape[1]} × {picture.shape[0]}): {what}" for what in real.among(picture)
            ]
        if isinstance(content, str):
            found += [
                f"{name}, outlines {number}: {what}"
                for number, mask in enumerate(_outlined(content))
                for what in real.masks_like(mask)
            ]
    return found


def identifiers_in(source: Source, root: Path) -> list[str]:
    """Every patient of the project, place on this machine, user and host that ``source`` names, with the words around it."""
    wanted = {
        name: re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", re.IGNORECASE) for name in identifiers(root)
    }
    found = []
    for name, content in _pieces(source):
        for text in _readings(content if isinstance(content, str) else content.decode("latin-1")):
            for pattern in (*wanted.values(), _PLACE):
                found += [f"{name}: …{text[max(0, hit.start() - 40) : hit.end() + 20]!r}…" for hit in pattern.finditer(text)]
    return list(dict.fromkeys(found))


def identifiers(root: Path) -> set[str]:
    """Ids of all patients in the project's stores, manifests, records and parameters, places of its data, user and host.

    An id that is a plain number is told from other numbers only with its dataset before it, ``acdc/101``.
    """
    params = YAML(typ="safe").load(root / "params.yaml")
    ids = {(block_name, str(subject)) for block_name, subject in _subjects(root)}
    names = {f"{dataset}/{subject}" for dataset, subject in ids} | {subject for _, subject in ids if not subject.isdecimal()}
    for excluded in params["data"].get("excluded") or ():
        names |= {excluded} | ({excluded.partition("/")[2]} if not excluded.partition("/")[2].isdecimal() else set())
    places = {str(block.get("root", "")) for block in params["data"]["raw"].values() if block}
    places |= {
        str(root.absolute()),
        str(root.resolve()),
        str(Path.home()),
        *(str((root / place).resolve()) for place in places),
    }
    people = {getpass.getuser(), socket.gethostname()} - {"root", "localhost"}  # which are nobody's names
    return {name for name in names | places | people if len(name) > 2}


def real_subjects(root: Path) -> set[str]:
    """The ids of all patients of the project."""
    return {subject for _, subject in _subjects(root)}


def _subjects(root: Path) -> Iterator[tuple[str, str]]:
    """(dataset, id) of every patient; a synthetic row belongs to none, unless it was made of a patient's mask."""
    for path in [*root.glob("data/*/*/index.parquet"), *root.glob("data/manifests/*.parquet")]:
        table = pd.read_parquet(path)
        dataset = table["dataset"].astype(str) if "dataset" in table else pd.Series(path.stem, index=table.index)
        for column in {"subject", "duplicate_of"} & set(table.columns):
            names = table[column].astype(str)
            drawn = names.str.fullmatch(r"synthetic-\d+") | (names == "")
            yield from zip(dataset[~drawn], names[~drawn], strict=True)
    for path in root.glob("reports/figures/ingest-*.json"):
        found, dataset = json.loads(path.read_text(encoding="utf-8")), path.stem.removeprefix("ingest-")
        for names in (*found.get("duplicates", []), *found.get("excluded", [])):
            yield from ((dataset, str(name)) for name in names)
        yield from ((dataset, str(one["subject"])) for one in found.get("skipped", []))


def _pieces(source: Source) -> Iterator[tuple[str, str | bytes]]:
    """(name, content) of a text or of all files, those inside archives among them."""
    if isinstance(source, str):
        yield "text", source
        return
    for path in [source] if isinstance(source, Path) else source:
        assert path.exists(), f"{path}: there is no such file to look through"
        files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        for file in files:
            yield from _unpacked(file.name if path == file else file.relative_to(path).as_posix(), file.read_bytes())


def _unpacked(name: str, content: bytes) -> Iterator[tuple[str, str | bytes]]:
    if content[:2] == b"PK" and not name.endswith(".npz"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for inside in archive.namelist():
                yield f"{name}, member", inside  # its name may be an identifier
                yield from _unpacked(f"{name}/{inside}", archive.read(inside))
    elif content[:2] == b"\x1f\x8b" and not name.endswith(".nii.gz"):
        yield from _unpacked(name.removesuffix(".gz"), gzip.decompress(content))
    elif Path(name).suffix.lower() in _TEXTS:
        yield name, content.decode("utf-8", "replace")
    else:
        yield name, content


def _readings(text: str) -> Iterator[str]:
    """A text without its data URIs, plain and with its entities and percent signs decoded, then the texts inside the URIs."""
    bare = _URI.sub(" ", text)
    yield from dict.fromkeys((bare, html.unescape(bare), unquote(html.unescape(bare))))
    for kind, content in _embedded(text):
        if _is_text(kind):
            yield from _readings(content.decode("utf-8", "replace"))


def _embedded(text: str) -> Iterator[tuple[str, bytes]]:
    for kind, options, payload in _URI.findall(html.unescape(text)):
        yield kind.lower(), base64.b64decode(unquote(payload) + "==") if "base64" in options else unquote_to_bytes(payload)


def _pictures(name: str, content: str | bytes) -> Iterator[NDArray]:
    """The pictures in a piece: (H, W) of levels, or (H, W, 3)."""
    if isinstance(content, str):
        for kind, inner in _embedded(content):
            yield from _pictures(kind, inner.decode("utf-8", "replace") if _is_text(kind) else inner)
    elif name.endswith((".npy", ".npz")):
        arrays = np.load(io.BytesIO(content), allow_pickle=False)
        for array in arrays.values() if isinstance(arrays, Mapping) else (arrays,):
            if array.ndim >= 2 and array.dtype.kind in "fiub" and min(array.shape[-2:]) >= 8:
                yield from np.nan_to_num(array.astype(np.float32)).reshape(-1, *array.shape[-2:])
    elif name.endswith((".nii", ".nii.gz")):
        raw = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        volume = np.asarray(nibabel.Nifti1Image.from_bytes(raw).dataobj, dtype=np.float32)
        yield from np.moveaxis(volume.reshape(*volume.shape[:2], -1), -1, 0)
    else:
        try:
            opened = Image.open(io.BytesIO(content))
        except UnidentifiedImageError:
            return
        for frame in ImageSequence.Iterator(opened):
            if frame.mode == "P":
                yield np.asarray(frame).astype(np.float32)
            yield np.asarray(frame.convert("RGB")).astype(np.float32)


def _outlined(text: str) -> Iterator[NDArray[np.uint8]]:
    """Label maps of the structures whose outlines an SVG in the page draws as paths of a class called as the structure."""
    for view, inside in re.findall(r"<svg[^>]*viewBox=[\"']([^\"']+)[\"'][^>]*>(.*?)</svg>", text, re.DOTALL | re.IGNORECASE):
        width, height = (round(float(number)) for number in view.replace(",", " ").split()[2:])
        mask = np.zeros((height, width), np.uint8)
        paths = dict(re.findall(r"<path[^>]*class=[\"'][^\"']*\b(LV|MYO|RV)\b[^\"']*[\"'][^>]*\sd=[\"']([^\"']+)", inside))
        for structure in ("RV", "MYO", "LV"):
            area = np.zeros((height * 4, width * 4), bool)
            for line in filter(None, re.split("M", paths.get(structure, ""))):
                points = [
                    tuple(4 * float(one) for one in point.replace(",", " ").split()) for point in line.rstrip("Zz ").split("L")
                ]
                canvas = Image.new("1", (width * 4, height * 4))
                ImageDraw.Draw(canvas).polygon([(x, y) for x, y in points], fill=1)
                area ^= np.asarray(canvas)
            mask[area[2::4, 2::4]] = STRUCTURES[structure]
        if mask.any():
            yield mask
    for kind, content in _embedded(text):
        if _is_text(kind):
            yield from _outlined(content.decode("utf-8", "replace"))


def _is_text(kind: str) -> bool:
    return kind.startswith("text/") or "svg" in kind
