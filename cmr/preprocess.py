"""Preprocessing, stage 1: N4 bias-field correction and in-plane resampling, cached per subject by content."""

import hashlib
import json
import multiprocessing
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import SimpleITK as sitk  # noqa: N813  (the name everybody knows)
from numpy.typing import NDArray
from tqdm import tqdm

from cmr.errors import DataError
from cmr.files import whole_file, whole_folder
from cmr.grey import usual_grey_values
from cmr.subject import Frame, Subject
from cmr.workers import cores, end_with_parent

CODE_VERSION = 3  # part of the cache key: raise it when a change to this file changes its results


@dataclass(frozen=True)
class N4Settings:
    """N4 bias-field correction (Tustison et al. 2010, DOI 10.1109/TMI.2010.2046908).

    Attributes:
        shrink: the field is estimated on slices averaged over ``shrink`` x ``shrink`` pixels, and above 1 on every other of
            these, and applied at full resolution.
        iterations: at most so many iterations at each level; one entry a level, each level doubles the B-spline mesh.
            Empty switches the correction off.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    shrink: int
    iterations: tuple[int, ...]


@dataclass(frozen=True)
class PreprocessSettings:
    """Stage 1. ``workers``: processes, 0 for one a core; it changes no result."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    n4: N4Settings
    workers: int


@dataclass(frozen=True)
class Kept:
    """Where a subject's frames lie in the cache, whether they were computed for this, and what is odd about them."""

    subject: str
    file: Path
    new: bool
    notes: tuple[str, ...] = ()


Each = Callable[[Callable[[Subject], Kept], Sequence[Subject]], Iterable[Kept]]
"""What calls a function, which survives pickling, with every subject, in any process and order, and shows the progress."""


@dataclass(frozen=True)
class Summary:
    """What one call of :func:`preprocess_dataset` did: subjects computed, subjects found in the cache, wall time, and sentences
    on frames whose grey values are odd."""

    processed: int
    cached: int
    seconds: float
    notes: tuple[str, ...] = ()


def preprocess_dataset(
    subjects: Sequence[Subject],
    settings: PreprocessSettings,
    spacing_mm: float,
    *,
    out: Path,
    cache: Path,
    each: Each | None = None,
) -> Summary:
    """Preprocess all ``subjects`` at once into ``out/SUBJECT.npz`` (read them with :func:`read_frames`).

    A subject whose decoded content and settings were seen before is linked from ``cache`` and not computed again, so an
    interrupted run continues where it stopped. ``out`` then holds these subjects and no others.

    Args:
        subjects: ``Subject.frames`` must survive pickling (a bound method or a partial of a module's function).
        spacing_mm: pixel size of the result, rows and columns.
        each: shares the subjects out; None: among ``settings.workers`` processes of this machine.

    Raises:
        DataError: a subject can't be read, the disk is full, or a worker was killed. Other exceptions carry a note that
            names the subject.
    """
    start = time.monotonic()
    computed, notes = 0, []
    with whole_folder(out) as folder:
        preprocess = partial(_preprocess_cached, settings=settings, spacing_mm=spacing_mm, cache=cache)
        for kept in (each or partial(_in_processes, workers=settings.workers))(preprocess, subjects):
            _link(kept.file, folder / f"{kept.subject}.npz")
            computed += kept.new
            notes += [f"{kept.subject} {note}" for note in kept.notes]
    return Summary(computed, len(subjects) - computed, time.monotonic() - start, tuple(sorted(notes)))


def preprocess_subject(subject: Subject, settings: PreprocessSettings, spacing_mm: float) -> list[Frame]:
    """The subject's frames after N4 and resampling to ``spacing_mm`` in-plane; the slice spacing stays as it is."""
    return [_preprocess_frame(frame, settings, spacing_mm) for frame in subject.frames()]


def correct_bias(image: NDArray[np.float32], voxel_mm: tuple[float, float, float], settings: N4Settings) -> NDArray[np.float32]:
    """Divide an image by its smooth coil field, found by N4 within an Otsu mask.

    Args:
        image: (slices, rows, columns) float32; zero and negative values are allowed (they are outside the mask).

    Returns:
        The same shape. An image without foreground comes back as it is.
    """
    if not settings.iterations:
        return image
    # N4 can't span one slice; twice the same slice is the same field.
    volume = _to_itk(np.repeat(image, 2, axis=0) if len(image) == 1 else image, voxel_mm)
    positive = sitk.Clamp(volume, sitk.sitkFloat32, 0.0)
    rows, columns = image.shape[1:]
    factors = [max(1, min(settings.shrink, size // 8)) for size in (columns, rows)]  # keep enough pixels for the mesh
    small = sitk.BinShrink(positive, [*factors, 1])
    mask = sitk.OtsuThreshold(small, 0, 1)
    if settings.shrink > 1:
        mask = _every_other(mask)
    if not sitk.GetArrayViewFromImage(mask).any():
        return image
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)  # the order of summation is then fixed: same bits on every machine; and more threads don't help
    n4.SetMaximumNumberOfIterations(settings.iterations)
    n4.Execute(small, mask)
    log_field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(volume))[: len(image)]
    return (image / np.exp(log_field)).astype(np.float32)


def _every_other(mask: sitk.Image) -> sitk.Image:
    """The mask's pixels of one colour of a chessboard: a smooth field needs no more, and N4 takes half the time."""
    pixels = sitk.GetArrayFromImage(mask)
    pixels[sum(np.indices(pixels.shape, sparse=True)) % 2 == 1] = 0
    chosen = sitk.GetImageFromArray(pixels)
    chosen.CopyInformation(mask)
    return chosen


def resample(volume: NDArray[Any], voxel_mm: tuple[float, float, float], spacing_mm: float, *, nearest: bool) -> NDArray[Any]:
    """Resample (slices, rows, columns) in-plane to ``spacing_mm``; linear, or nearest neighbour for labels (paper, III-A).

    The new grid covers the same field of view about the same centre: size x spacing is preserved to within half a pixel, and
    every new pixel centre lies inside the old field of view. No low-pass filter comes before, as in the paper.
    """
    image = _to_itk(volume, voxel_mm)
    reference = np.array(image.GetSize()[:2]), np.array(image.GetSpacing()[:2])
    extent = reference[0] * reference[1]
    size = np.maximum(1, np.round(extent / spacing_mm).astype(int))
    origin = (extent - reference[1]) / 2 - (size - 1) * spacing_mm / 2  # of the first pixel's centre; old one: 0
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([*size.tolist(), len(volume)])
    resampler.SetOutputSpacing([spacing_mm, spacing_mm, image.GetSpacing()[2]])
    resampler.SetOutputOrigin([*origin.tolist(), 0.0])
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    return sitk.GetArrayFromImage(resampler.Execute(image))


def read_frames(path: Path) -> list[Frame]:
    """The frames in one file of stage 1.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        return _load(path)[0]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: not a readable file of preprocessed frames ({error}); run `dvc repro` to make it again"
        ) from error


def _preprocess_frame(frame: Frame, settings: PreprocessSettings, spacing_mm: float) -> Frame:
    image, notes = usual_grey_values(frame.image)
    corrected = correct_bias(image, frame.voxel_mm, settings.n4)
    if settings.n4.iterations and np.allclose(corrected, image, rtol=1e-3, atol=0):
        notes.append("N4 found no coil field, and the image stays as it is: do its grey values make a picture?")
    return Frame(
        phase=frame.phase,
        image=resample(corrected, frame.voxel_mm, spacing_mm, nearest=False),
        label=resample(frame.label, frame.voxel_mm, spacing_mm, nearest=True),
        voxel_mm=(frame.voxel_mm[0], spacing_mm, spacing_mm),
        notes=tuple(notes),
    )


def _in_processes(preprocess: Callable[[Subject], Kept], subjects: Sequence[Subject], *, workers: int) -> Iterator[Kept]:
    workers = max(1, min(workers or cores(), len(subjects)))
    # spawn: SimpleITK's threads do not survive a fork
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=end_with_parent)
    try:
        jobs = [pool.submit(preprocess, subject) for subject in subjects]
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="preprocess", unit="subject"):
            yield job.result()
    except BrokenProcessPool as error:
        raise DataError(
            "a preprocessing worker was killed, most likely because memory ran out; lower `preprocess.workers` and run again "
            "(finished subjects are kept)"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _preprocess_cached(subject: Subject, settings: PreprocessSettings, spacing_mm: float, cache: Path) -> Kept:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # a worker's process has one core
    try:
        frames = subject.frames()
        key = _content_key(frames, settings, spacing_mm)
        kept = cache / f"{key}.npz"
        done, new = _kept_frames(kept, key), False
        if done is None:
            done, new = [_preprocess_frame(frame, settings, spacing_mm) for frame in frames], True
            _save(kept, done, key)
    except Exception as error:  # whatever it is, its message says whose scan it was, and it goes on
        error.add_note(f"while preprocessing subject {subject.id}")
        raise
    return Kept(subject.id, kept, new, tuple(f"{frame.phase}: {note}" for frame in done for note in frame.notes))


def _content_key(frames: Sequence[Frame], settings: PreprocessSettings, spacing_mm: float) -> str:
    sha = hashlib.sha256(json.dumps([CODE_VERSION, asdict(settings.n4), spacing_mm]).encode())
    for frame in frames:
        sha.update(json.dumps([frame.phase, frame.voxel_mm, frame.image.shape]).encode())
        sha.update(np.ascontiguousarray(frame.image, np.float32).data)
        sha.update(np.ascontiguousarray(frame.label, np.uint8).data)
    return sha.hexdigest()


def _save(path: Path, frames: Sequence[Frame], key: str) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "key": np.array(key),
        "phases": np.array([frame.phase for frame in frames]),
        "voxel_mm": np.array([frame.voxel_mm for frame in frames], np.float64),
        "notes": np.array(json.dumps([frame.notes for frame in frames])),
    }
    for number, frame in enumerate(frames):
        arrays |= {f"image_{number}": frame.image, f"label_{number}": frame.label}
    with whole_file(path, needed_bytes=sum(array.nbytes for array in arrays.values())) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)


def _load(path: Path) -> tuple[list[Frame], str]:
    with np.load(path, allow_pickle=False) as file:  # the archive's checksums are verified on reading
        facts = zip(file["phases"], file["voxel_mm"].tolist(), json.loads(str(file["notes"])), strict=True)
        frames = [
            Frame(str(phase), file[f"image_{number}"], file[f"label_{number}"], tuple(voxel_mm), tuple(notes))
            for number, (phase, voxel_mm, notes) in enumerate(facts)
        ]
        return frames, str(file["key"])


def _kept_frames(path: Path, key: str) -> list[Frame] | None:
    """The frames in a file of the cache; None where it was never made, or is damaged: it is made again."""
    try:
        frames, found = _load(path)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    return frames if found == key else None


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _to_itk(volume: NDArray[Any], voxel_mm: tuple[float, float, float]) -> sitk.Image:
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing([float(size) for size in reversed(voxel_mm)])
    return image
