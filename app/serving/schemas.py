"""What goes over the wire: the bodies of requests and answers, and arrays in JSON."""

import base64
import binascii
import io
import math
from itertools import chain, islice
from tokenize import TokenError
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from app.approved import SEED_LIMIT
from cmr.errors import DataError
from cmr.labels import BACKGROUND, CLASSES

Format = Literal["list", "npy", "png"]
BYTES_A_PIXEL = 48  # of a mask in the wordiest form that is taken: one-hot float64 in base64, or "0.0, " four times a pixel
_GREATEST_GUIDANCE = 100.0
_DEEPEST = 4  # lists in lists: pictures, classes, rows, pixels


class RefusedError(DataError):
    """A request that can't be met. The message goes to the client: it holds nothing of the server."""


Seed = Annotated[int, Field(ge=0, lt=SEED_LIMIT, description="The same seed gives the same pictures.")]
Steps = Annotated[
    int | None, Field(ge=1, description="Of the sampler; those that the model's figures were measured with, unless given.")
]
FormatField = Annotated[
    Format,
    Field(description="list: nested lists, images to 4 decimals; npy: one base64 .npy, in full; png: a base64 PNG each."),
]


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    seed: Seed = 0
    steps: Steps = None
    format: FormatField = "list"


class ImagesRequest(_Request):
    """Masks to draw images for."""

    masks: Annotated[
        list[Any] | str,
        Field(
            description="Labels (N, S, S): 0 background, 1 LV, 2 MYO, 3 RV; or one-hot (N, 4, S, S). Nested lists, or the "
            "base64 of a .npy file.",
        ),
    ]
    guidance: Annotated[
        float | None,
        Field(ge=0, le=_GREATEST_GUIDANCE, description="Of the mask, 1: none; that of the model's figures, unless given."),
    ] = None


class MasksRequest(_Request):
    """How many masks to draw."""

    count: Annotated[int, Field(ge=1)] = 1


class Drawn(BaseModel):
    """What was drawn, but for near-copies of what the model was trained on.

    ``rows`` are the numbers, from 0, of the pictures that are here; ``withheld`` those of the others, which another seed draws
    otherwise.
    """

    model: str
    version: int
    approved_by_override: str | None
    marks: list[str]
    licences: list[str]
    sampler: str
    steps: int
    seed: int
    seeds: list[int]
    rows: list[int]
    withheld: list[int]


class Images(Drawn):
    """Images (rows, S, S) in [-1, 1]; as PNG 0 to 255."""

    images: list[Any] | str


class Masks(Drawn):
    """Label maps (rows, S, S): 0 background, 1 LV, 2 MYO, 3 RV; as PNG the grey levels 0 to 3."""

    masks: list[Any] | str


class ModelState(BaseModel):
    """A model that is served: its version, what it takes, and whether it still may be used."""

    model: str
    registered_as: str
    version: int
    approved: bool
    reason: str | None
    approved_by_override: str | None
    marks: list[str]
    licences: list[str]
    size: int
    pixel_mm: float
    input: str
    output: str
    sampler: str
    steps: int
    most_steps: int
    most_pictures: int
    most_work: Annotated[int, Field(description="Pictures × steps a request.")]


class Fault(BaseModel):
    """What was found, what was expected, what to do."""

    detail: str


def read_masks(given: list[Any] | str, size: int, most: int) -> NDArray[np.uint8]:
    """The masks of a request as labels (N, S, S).

    Args:
        given: nested lists or the base64 of a .npy file, of labels (N, S, S) or one-hot (N, 4, S, S).
        size: S.
        most: pictures a request.

    Raises:
        RefusedError: anything else, masks without a heart among them.
    """
    array = _from_npy(given, size, most) if isinstance(given, str) else _from_lists(given, size, most)
    if not np.isfinite(array).all():
        raise RefusedError("masks: some values are not finite (NaN or infinity)")
    labels = _labels(array) if array.ndim == 3 else _of_one_hot(array)
    if len(empty := np.flatnonzero((labels == BACKGROUND).all(axis=(1, 2)))):
        raise RefusedError(f"masks: mask {empty[0]} shows no heart; expected the labels 1 LV, 2 MYO, 3 RV somewhere")
    return labels


def encode(pictures: NDArray, how: Format) -> list[Any] | str:
    """Images in [-1, 1] or label maps, (N, S, S), as a value of JSON."""
    if how == "npy":
        file = io.BytesIO()
        np.save(file, pictures, allow_pickle=False)
        return base64.b64encode(file.getvalue()).decode()
    if how == "png":
        return [_png(picture) for picture in pictures]
    return (pictures if pictures.dtype == np.uint8 else pictures.astype(float).round(4)).tolist()


def _from_lists(given: list[Any], size: int, most: int) -> NDArray:
    _check_lists(given, most * CLASSES * size**2)
    try:
        array = np.asarray(given)
    except (ValueError, OverflowError) as error:  # rows of different lengths, or a number of hundreds of digits
        raise RefusedError("masks: the lists make no array; expected rows of equal length, of numbers") from error
    _check_numbers(array.dtype)
    _check_shape(array.shape, size, most)
    return array


def _check_lists(given: list[Any], most: int) -> None:
    """Refuse what numpy would give much memory: a text among numbers makes each of them as long as the text."""
    level = given
    for _ in range(_DEEPEST - 1):
        if not level or set(map(type, level)) != {list}:
            break
        level = list(islice(chain.from_iterable(level), most + 1))
    if len(level) > most:
        raise RefusedError(f"masks: more than {most} values; expected at most {most} in all")
    if not set(map(type, level)) <= {int, float}:
        raise RefusedError(f"masks: expected numbers only, in lists that are nested {_DEEPEST} times at most and equally deep")


def _from_npy(given: str, size: int, most: int) -> NDArray:
    try:
        file = io.BytesIO(base64.b64decode(given, validate=True))
    except (binascii.Error, ValueError) as error:
        raise RefusedError("masks: the text is no base64; expected that of a .npy file") from error
    # Read by hand: numpy would first make room for whatever shape the header claims.
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, columns_first, kind = read(file)
    except (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise RefusedError("masks: not readable as a .npy file (numpy.save with allow_pickle=False)") from error
    _check_numbers(kind)
    _check_shape(shape, size, most)
    content = file.read()
    if len(content) != kind.itemsize * math.prod(shape):
        raise RefusedError(f"masks: the .npy file claims the shape {_shown(shape)}, which its {len(content)} bytes are not")
    return np.frombuffer(content, kind).reshape(shape, order="F" if columns_first else "C")


def _check_shape(shape: tuple[int, ...], size: int, most: int) -> None:
    if shape[1:] not in [(size, size), (CLASSES, size, size)] or any(type(length) is not int for length in shape):
        expected = f"(N, {size}, {size}) labels or (N, {CLASSES}, {size}, {size}) one-hot"
        raise RefusedError(f"masks: shape {_shown(shape)}; expected {expected}")
    if not 1 <= shape[0] <= most:
        raise RefusedError(f"masks: {str(shape[0])[:12]} of them; expected 1 to {most} a request")


def _check_numbers(kind: np.dtype) -> None:
    if kind.kind not in "iuf":
        raise RefusedError("masks: expected numbers only")


def _labels(array: NDArray) -> NDArray[np.uint8]:
    if not np.isin(array, range(CLASSES)).all():
        raise RefusedError(f"masks: values from {array.min()} to {array.max()}; expected the labels 0, 1, 2 and 3 only")
    return array.astype(np.uint8)


def _of_one_hot(array: NDArray) -> NDArray[np.uint8]:
    if not np.isin(array, (0, 1)).all() or not (array.sum(axis=1) == 1).all():
        raise RefusedError("masks: not one-hot; expected a single 1 among the four channels of each pixel, and 0 in the others")
    return array.argmax(axis=1).astype(np.uint8)


def _png(picture: NDArray) -> str:
    grey = picture if picture.dtype == np.uint8 else np.clip(np.rint((picture + 1) * 127.5), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _shown(shape: tuple[int, ...]) -> str:
    return f"({', '.join(str(length)[:12] for length in shape[:6])}{', …' if len(shape) > 6 else ''})"
