"""Masks of a request: what is refused before it takes memory or raises anything but a refusal."""

import base64
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.serving.schemas import RefusedError, read_masks
from tests.app.serving.malformed import heart, one_hot

SIZE, MOST = 64, 32


def _npy_with(shape: str) -> str:
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return base64.b64encode(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head).decode()


def _deep(depth: int) -> list[Any]:
    nested: list[Any] = [1]
    for _ in range(depth - 1):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    "given",
    [
        ["x", *[1] * 300],
        [1, "x"],
        [[1, [1, "x"]]],
        [[True, False]],
        [[1, True]],
        [None],
        [{}],
        [10**400, 1.5],
        [10**400],
        [[1], 1],
        [[[[[1]]]]],
        _deep(60),
        [0] * (MOST * 4 * SIZE**2 + 1),
        [[0] * SIZE**2] * (MOST * 4 + 1),
        [[], [[]]],
        [],
    ],
    ids=lambda given: repr(given)[:30],
)
def test_lists_of_anything_but_masks_are_refused(given: list[Any]) -> None:
    with pytest.raises(RefusedError, match=r"^masks: .*expected"):
        read_masks(given, SIZE, MOST)


def test_one_boolean_among_the_numbers_is_refused() -> None:
    masks = heart(SIZE, 2).tolist()
    masks[1][3][3] = True
    with pytest.raises(RefusedError, match="expected numbers only"):
        read_masks(masks, SIZE, MOST)


@pytest.mark.parametrize(
    "shape",
    [
        f"({'0, ' * 70})",
        f"({'1, ' * 70})",
        "(4611686018427387904, 4611686018427387904, 0)",
        "(0, 4611686018427387904, 4611686018427387904)",
        f"(0, {SIZE}, {SIZE})",
        f"(1, {SIZE}.0, {SIZE})",
        f"(True, {SIZE}, {SIZE})",
        f"(10000000000000000000000000000, {SIZE}, {SIZE})",
        f"(-1, {SIZE}, {SIZE})",
        "()",
        "(0,)",
    ],
)
def test_a_npy_file_of_any_other_shape_is_refused(shape: str) -> None:
    with pytest.raises(RefusedError, match=r"^masks: "):
        read_masks(_npy_with(shape), SIZE, MOST)


def test_a_long_text_among_numbers_takes_no_memory() -> None:
    code = (
        "import resource, sys\n"
        "from app.serving.schemas import RefusedError, read_masks\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "try:\n"
        f"    read_masks(['x' * 400_000] + [1] * 300, {SIZE}, {MOST})\n"
        "except RefusedError:\n"
        "    print(peak() - before)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50_000  # KiB; numpy would make 480 MB of them


@pytest.mark.parametrize("masks", [heart(SIZE, MOST), one_hot(heart(SIZE, MOST))], ids=["labels", "one-hot"])
def test_masks_in_lists_are_read_about_as_quickly_as_numpy_reads_them(masks: np.ndarray) -> None:
    lists = masks.tolist()
    started = time.process_time()
    np.asarray(lists)
    numpys = time.process_time() - started
    started = time.process_time()
    read = read_masks(lists, SIZE, MOST)
    assert time.process_time() - started < 10 * numpys + 0.2
    np.testing.assert_array_equal(read, heart(SIZE, MOST))
