"""Mask files that a stranger made: small to send, and huge if they were unpacked. Each is read by one process."""

import gzip
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from app.conditions import given_masks
from cmr.errors import DataError
from cmr.limit import FOREIGN
from cmr.nifti import NiftiFile
from tests.pipelines.report_project import heart

MOST_MIB, MOST_SECONDS = 300, 60
READ = """
import json, resource, sys, time
from pathlib import Path
import SimpleITK
from app.conditions import given_masks
from cmr.errors import DataError
from cmr.limit import FOREIGN
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
for folder in sorted(Path(sys.argv[1]).iterdir()):
    [path], start = folder.iterdir(), time.monotonic()
    try:
        said = f"read {given_masks(path, 32, 5.0, FOREIGN).shape}"
    except DataError as error:
        said = str(error)
    print(json.dumps([folder.name, [said, peak() - before, time.monotonic() - start]]))
"""


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int, *before: bytes, pixels: bytes | None = None, after: tuple[bytes, ...] = ()) -> bytes:
    """A PNG file of labels, all 1, with chunks before and after the pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    if pixels is None:
        packer = zlib.compressobj(9)
        pixels = b"".join(packer.compress(b"\0" + b"\1" * width) for _ in range(height)) + packer.flush()
    parts = [_chunk(b"IHDR", head), *before, _chunk(b"IDAT", pixels), *after, _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _packed(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


def _ztxt(megabytes: int) -> bytes:
    return _chunk(b"zTXt", b"Comment\0\0" + _packed(megabytes))


def _itxt(megabytes: int) -> bytes:
    return _chunk(b"iTXt", b"Comment\0\1\0\0\0" + _packed(megabytes))


def _nifti(
    shape: tuple[int, ...], kind: str = "u1", *, two: bool = False, pixels: bytes | None = None, **fields: object
) -> bytes:
    """A header that says what it is told to, before pixels, all 1."""
    header = (nib.Nifti2Header if two else nib.Nifti1Header)()
    header.set_data_dtype(kind)
    header["magic"] = b"n+2" if two else b"n+1"
    header["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    header["pixdim"] = [1, 5, 5, 10, 1, 1, 1, 1]
    header["vox_offset"] = 544 if two else 352
    for name, value in fields.items():
        header[name] = value
    if pixels is None:
        pixels = np.ones(shape[::-1], kind).tobytes()
    return (bytes(header.binaryblock) + bytes(4)) + pixels


def _gz(content: bytes, zeros_mib: int = 0) -> bytes:
    """Packed, with zeros after it."""
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(content)] + [packer.compress(bytes(1 << 20)) for _ in range(zeros_mib)]
    return b"".join([*parts, packer.flush()])


def _as(kind: str) -> bytes:
    import io

    file = io.BytesIO()
    Image.fromarray(np.ones((32, 32), np.uint8)).save(file, kind)
    return file.getvalue()


BOMBS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "pixels": ("m.png", lambda: _png(14000, 14000), "could be decompression bomb"),
    "pixels that the library's own limit lets pass": ("m.png", lambda: _png(9000, 9000), "9000 × 9000 pixels"),
    "pixels of the header alone": ("m.png", lambda: _png(2**31 - 1, 2**31 - 1, pixels=b""), "pixels"),
    "a text chunk": ("m.png", lambda: _png(32, 32, _ztxt(400)), "not readable"),
    "an international text chunk": ("m.png", lambda: _png(32, 32, _itxt(400)), "not readable"),
    "many text chunks": ("m.png", lambda: _png(32, 32, *[_ztxt(1)] * 400), "not readable"),
    "a text chunk after the pixels": ("m.png", lambda: _png(32, 32, after=(_ztxt(400),)), "not readable"),
    "a colour profile": ("m.png", lambda: _png(32, 32, _chunk(b"iCCP", b"p\0\0" + _packed(400))), "not readable"),
    "pixels beyond the last row": ("m.png", lambda: _png(32, 32, pixels=_packed(400)), "are empty"),
    "an animation": ("m.png", lambda: _png(32, 32, _chunk(b"acTL", struct.pack(">II", 5000, 0))), "animated"),
    "TIFF": ("m.png", lambda: _as("TIFF"), "not readable"),
    "GIF": ("m.png", lambda: _as("GIF"), "not readable"),
    "WebP": ("m.png", lambda: _as("WEBP"), "not readable"),
    "EPS": ("m.png", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n", "not readable"),
    "zeros after the volume": ("m.nii.gz", lambda: _gz(_nifti((32, 32, 2)), 400), "unpacks to more than the 32 MiB"),
    "a volume of zeros": ("m.nii.gz", lambda: _gz(_nifti((1024, 1024, 400), pixels=b""), 400), "1024 x 1024 x 400 voxels"),
    "slices": ("m.nii.gz", lambda: _gz(_nifti((2, 2, 30000), pixels=b"")), "2 x 2 x 30000 voxels"),
    "time points": ("m.nii.gz", lambda: _gz(_nifti((64, 64, 10, 30000), pixels=b""), 400), "voxels"),
    "more than the header tells": ("m.nii.gz", lambda: _gz(_nifti((0, 32, 2), pixels=b""), 400), "0 x 32 x 2"),
    "negative sizes": ("m.nii", lambda: _nifti((-512, -512, 2), pixels=b""), "-512 x -512 x 2"),
    "sizes of NIfTI-2": ("m.nii", lambda: _nifti((2**40, 2**40, 2), two=True, pixels=b""), "voxels"),
    "a far beginning": ("m.nii.gz", lambda: _gz(_nifti((32, 32, 2), vox_offset=9e8, pixels=b""), 400), "begin at byte"),
    "a beginning before the file's": ("m.nii", lambda: _nifti((32, 32, 2), vox_offset=-352), "begin at byte"),
    "a beginning that is no number": ("m.nii", lambda: _nifti((32, 32, 2), vox_offset=np.nan), "can't be understood"),
    "an endless beginning": ("m.nii", lambda: _nifti((32, 32, 2), vox_offset=np.inf), "can't be understood"),
    "a header's extension": (
        "m.nii.gz",
        lambda: _gz(_nifti((32, 32, 2), vox_offset=4e8, pixels=struct.pack("<ii", 400_000_000, 6)), 400),
        "begin at byte",
    ),
    "numbers of 16 bytes": ("m.nii", lambda: _nifti((512, 512, 16), datatype=1536, bitpix=128, pixels=b""), "pixels of type"),
    "an intercept that is no number": ("m.nii", lambda: _nifti((32, 32, 2), scl_slope=1, scl_inter=np.inf), "can't be understood"),  # noqa: E501
    "a slope that is no number": ("m.nii", lambda: _nifti((32, 32, 2), scl_slope=np.inf), "`scl_slope`"),
    "a slope beyond numbers": ("m.nii", lambda: _nifti((32, 32, 2), "f8", scl_slope=3e38, pixels=bytes([255, 255, 255, 255, 255, 255, 239, 127]) * 2048), "not finite"),  # noqa: E501
    "pixels as wide as a house": ("m.nii", lambda: _nifti((512, 512, 16), pixdim=[1, 9000, 9000, 10, 1, 1, 1, 1]), "is 9000 x 9000 x 10 mm"),  # noqa: E501
    "pixels as wide as a country": ("m.nii", lambda: _nifti((8, 8, 2), pixdim=[1, 3e38, 3e38, 10, 1, 1, 1, 1]), "mm were expected"),  # noqa: E501
    "pixels of next to nothing": ("m.nii", lambda: _nifti((512, 512, 16), pixdim=[1, 1e-38, 1e-38, 10, 1, 1, 1, 1]), "mm were expected"),  # noqa: E501
    "a name without end": ("m.nii.gz", lambda: b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * (31 << 20), "truncated"),
    "a million empty parts": ("m.nii.gz", lambda: gzip.compress(b"") * 1_500_000, "not a NIfTI file"),
    "the most that is read": ("m.nii.gz", lambda: _gz(_nifti((512, 512, 16), pixdim=[1, 1.9, 1.9, 10, 1, 1, 1, 1], scl_slope=1.0)), "read (16, 32, 32)"),  # noqa: E501
    "the most slices that are read": ("m.nii.gz", lambda: _gz(_nifti((256, 256, 64), "f8", pixdim=[1, 3.9, 3.9, 10, 1, 1, 1, 1])), "read (64, 32, 32)"),  # noqa: E501
    "the largest picture that is read": ("m.png", lambda: _png(2048, 2048), "2048 × 2048 pixels whose size in mm"),
}  # fmt: skip


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float, float]]:
    """What a process says of each file, the memory in MiB that it had taken until then, and the seconds."""
    folder = tmp_path_factory.mktemp("files")
    for name, (file, content, _) in BOMBS.items():
        (folder / name).mkdir()
        (folder / name / file).write_bytes(content())
        assert (folder / name / file).stat().st_size <= FOREIGN.bytes
    done = subprocess.run([sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_of_a_stranger_takes_little_memory(read: dict[str, tuple[str, float, float]], name: str) -> None:
    said, more_mib, seconds = read[name]
    assert BOMBS[name][2] in said
    assert more_mib < MOST_MIB
    assert seconds < MOST_SECONDS


def test_files_of_one_s_own_are_read_up_to_what_a_scan_holds(tmp_path: Path) -> None:
    volume = np.zeros((256, 256, 100), np.uint8)
    volume[:32, :32] = heart(np.random.default_rng(3), 32).T[..., None]
    image = nib.Nifti1Image(volume, np.eye(4))
    image.header.set_zooms((1.5, 1.5, 10))
    nib.save(image, tmp_path / "own.nii.gz")
    assert given_masks(tmp_path / "own.nii.gz", 32, 1.5).shape == (100, 32, 32)
    with pytest.raises(DataError, match="256 x 256 x 100 voxels; at most 4194304 voxels in 64 slices"):
        given_masks(tmp_path / "own.nii.gz", 32, 1.5, FOREIGN)
    assert NiftiFile.open(tmp_path / "own.nii.gz").shape == (100, 256, 256)
