"""Requests that no server can meet, in all the ways in which they arrive."""

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IMAGES, MASKS = "/v1/models/ddpm/images", "/v1/models/masks/masks"


@dataclass(frozen=True)
class Bad:
    """One request, and what is wrong with it."""

    what: str
    body: bytes
    path: str = IMAGES
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def heart(size: int, count: int = 1) -> np.ndarray:
    """Masks (count, size, size) with a ring around a disc."""
    rows, columns = np.indices((size, size)) - size / 2
    distance = np.hypot(rows, columns)
    return np.repeat(np.where(distance < size / 8, 1, np.where(distance < size / 5, 2, 0))[None], count, axis=0).astype(
        np.uint8
    )


def one_hot(masks: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.eye(4, dtype=np.float32)[masks], -1, 1)


def npy(array: np.ndarray, **how: Any) -> str:
    file = io.BytesIO()
    np.save(file, array, **how)
    return base64.b64encode(file.getvalue()).decode()


def malformed(count: int, size: int, most: int, seed: int = 0) -> list[Bad]:
    """So many, from each family in turn; the same for the same seed."""
    random = np.random.default_rng(seed)
    families = _families(size, most, random)
    return [families[turn % len(families)]() for turn in range(count)]


def _families(size: int, most: int, random: np.random.Generator) -> list[Callable[[], Bad]]:
    masks = heart(size)
    good = {"masks": masks.tolist(), "seed": 1}

    def but(what: str, **changed: Any) -> Bad:
        return Bad(f"{what}: {str(changed)[:80]}", json.dumps({**good, **changed}).encode())

    def of_masks(what: str, **changed: Any) -> Bad:
        return Bad(f"{what}: {changed}", json.dumps(changed).encode(), MASKS)

    def pick(values: list[Any]) -> Any:
        return values[random.integers(len(values))]

    def spoilt(value: float) -> list[Any]:
        array = masks.astype(float)
        array[0, random.integers(size), random.integers(size)] = value
        return array.tolist()

    def shape() -> tuple[int, ...]:
        shapes = [(size, size), (1, size, size + 1), (1, size // 2, size // 2), (1, 3, size, size), (2, 1, 4, size, size), (5,)]
        return pick(shapes)

    def header(text: str) -> str:
        head = text.encode("latin1").ljust(117) + b"\n"
        return base64.b64encode(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + b"\0" * 64).decode()

    def not_one_hot() -> np.ndarray:
        array = one_hot(masks)
        array[0, :, random.integers(size), random.integers(size)] = pick([0.0, 1.0, 0.5, 2.0, -1.0])
        return array

    whole = json.dumps(good).encode()
    return [
        lambda: Bad("cut short", whole[: random.integers(1, len(whole) - 1)]),
        lambda: Bad("noise", random.bytes(int(random.integers(1, 400)))),
        lambda: Bad("empty", b""),
        lambda: Bad("no mapping", pick([b"[]", b"1", b'"masks"', b"null", b"true"])),
        lambda: Bad("another type", whole, headers={"Content-Type": pick(["text/plain", "application/x-npy", "a/b/c"])}),
        lambda: Bad("no type", whole, headers={}),
        lambda: Bad("deep", b'{"masks": ' + b"[" * int(random.integers(1000, 100_000))),
        lambda: Bad("deep and closed", b'{"masks": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
        lambda: Bad("long number", b'{"masks": [' + b"9" * 5000 + b"]}"),
        lambda: Bad("no masks", b'{"seed": 1}'),
        lambda: but("unknown key", **{pick(["mask", "Seed", "n", "__proto__"]): 1}),
        lambda: but("masks", masks=pick([None, 1, {"a": 1}, True, "", [], [[]], [[[]]], [None], ["a"], [{}], "\ud800"])),
        lambda: but("text among numbers", masks=[*[[[pick(["x" * 5000, True, None, {}])]]], *masks.tolist()]),
        lambda: but("no base64", masks=pick(["äöü", "=", "a", "!!!!", " "])),
        lambda: but("no npy", masks=base64.b64encode(random.bytes(int(random.integers(0, 300)))).decode()),
        lambda: but("npy cut short", masks=npy(masks)[: 4 * int(random.integers(1, 60))]),
        lambda: but("npy of objects", masks=npy(np.array([[["x"]]], object), allow_pickle=True)),
        lambda: but("npy of text", masks=npy(masks.astype(pick(["U1", "S1", "?", "c16", "M8[s]"])))),
        lambda: but("npy claims", masks=header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {pick(_CLAIMS)}}}")),
        lambda: but("npy header", masks=header(pick(_HEADERS))),
        lambda: but("ragged", masks=[masks[0].tolist(), masks[0, :-1].tolist()]),
        lambda: but("shape", masks=np.zeros(shape(), int).tolist()),
        lambda: but("shape of npy", masks=npy(np.ones(shape()))),
        lambda: but("none", masks=npy(masks[:0])),
        lambda: but("too many", masks=npy(heart(size, most + int(random.integers(1, 9))))),
        lambda: but("a label", masks=spoilt(pick([4, -1, 0.5, 255, 1e300]))),
        lambda: but("not finite", masks=spoilt(pick([float("nan"), float("inf"), -float("inf")]))),
        lambda: but("not finite, npy", masks=npy(np.full((1, size, size), pick([np.nan, np.inf])))),
        lambda: but("no heart", masks=np.zeros_like(masks).tolist()),
        lambda: but("not one-hot", masks=npy(not_one_hot())),
        lambda: but("not one-hot, lists", masks=not_one_hot().tolist()),
        lambda: but("seed", seed=pick([-1, 1 << 63, 1 << 200, 1.5, 1.0, "1", True, None, [], float("nan")])),
        lambda: but("steps", steps=pick([0, -1, 1001, 10**30, 2.5, "3", False, [3], float("inf")])),
        lambda: but("guidance", guidance=pick([float("nan"), float("inf"), -0.1, 101, "1", [], True])),
        lambda: but("format", format=pick(["gif", "NPY", 3, None, ["png"], ""])),
        lambda: of_masks("count", count=pick([0, -1, most + 1, 10**12, 1.5, "2", None])),
        lambda: of_masks("seed", seed=pick([-1, 1 << 63, "x"])),
        lambda: of_masks("unknown key", masks=1),
        lambda: Bad("no such model", whole, f"/v1/models/{pick(_NO_MODELS)}/images"),
        lambda: Bad(
            "no such page", whole, pick(["/", "/v1", "/invocations", "/v1/models/ddpm", "/v1/models/masks/images", "/docs"])
        ),
        lambda: Bad("method", b"", pick([IMAGES, MASKS]), pick(["GET", "PUT", "DELETE", "PATCH", "BREW"])),
        lambda: Bad("two bodies", whole + whole),
    ]


_NO_MODELS = ["fm", "gan", "..", "%2e%2e%2fetc", "ddpm%00", "a" * 3000]
_CLAIMS = [
    "(1000000000000, 32, 32)",
    "(-1, 32, 32)",
    "(1, 32, 32",
    "(0, 32, 32)",
    "(True, 8, 8)",
    "()",
    "(64,)",
    "('a',)",
    "(1e3,)",
    f"({'0, ' * 70})",
    "(4611686018427387904, 4611686018427387904, 0)",
]
_HEADERS = [
    "(" * 100,
    "{'descr': '|O', 'fortran_order': False, 'shape': (8,)}",
    "{'descr': ('|u1', (64,)), 'fortran_order': False, 'shape': (1,)}",
    "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (64,)}",
    "{'descr': '<f99', 'fortran_order': False, 'shape': (64,)}",
    "{'descr': 5, 'fortran_order': False, 'shape': (64,)}",
    "{'shape': (64,)}",
    "__import__('os').abort()",
    "'unclosed",
    "\\x00\x00",
    "",
]
