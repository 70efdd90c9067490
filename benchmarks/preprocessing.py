"""Preprocessing, stage 1: N4 with SimpleITK's defaults in one process, against ours on one core, and ours on all cores.

    SYNCMRI_REAL_DATA=DIR python -m benchmarks.preprocessing [--quick]    # DIR/acdc: ACDC in its official layout

Without ``SYNCMRI_REAL_DATA`` the built-in phantom is measured, and the table says so. The plain way corrects each frame at full
resolution within an Otsu mask (four levels of 50 iterations) on one thread, then resamples; ours has the paper profile's
settings. Both find a bias field: their correlation within the mask, over all frames, is a row of its own with the goal 0.99.
"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from benchmarks.harness import Comparison, Result, arguments, compare, cores, finish, keep, repeats, report, timed
from cmr.phantom import PhantomSettings, write_phantom
from cmr.preprocess import PreprocessSettings, correct_bias, preprocess_dataset, preprocess_subject, resample
from cmr.readers import READERS
from cmr.subject import Frame, Subject
from mlops.profiles import merged
from mlops.settings import check, find_root

SPACING_MM = 1.5
CORRELATION = 0.99
Field = tuple[NDArray, NDArray]
"""Logarithm of a bias field, and the mask that it was found in."""


def main() -> None:
    """Prints and records the figures; see the module."""
    parser = arguments(__doc__)
    parser.add_argument("--patients", type=int, default=None, help="how many (4; with --quick 1)")
    given = parser.parse_args()
    settings = check(merged(find_root(), "paper")["preprocess"], PreprocessSettings, "preprocess")
    with TemporaryDirectory(prefix="syncmri-benchmark-") as folder:
        subjects, named = patients(Path(folder), given.patients or (1 if given.quick else 4))
        fields: list[Field] = []

        def plain() -> None:
            fields[:] = [corrected_by_defaults(frame) for subject in subjects for frame in subject.frames()]

        turns = repeats(given, usual=3, quick=1)
        found = compare(
            plain,
            lambda: [preprocess_subject(subject, settings, SPACING_MM) for subject in subjects],
            repeats=turns,
            agreement="",
            warm=False,
        )
        together, each = correlations(fields, subjects, settings)
        found = replace(found, agreement=f"bias fields: correlation {together:.4f}")
        work = f"{len(subjects)} subject(s) of {named}, both frames, one thread, seconds a subject"
        report("preprocessing, one core", found, goal=5, work=work, limit="levels of N4 cost what they see", unit=len(subjects))
        keep(
            Result(
                "preprocessing, correlation with N4's defaults",
                [together],
                CORRELATION,
                "" if together >= CORRELATION else "frames with few pixels in N4's mask or with a weak field have another one",
                "1",
                f"{together:.4f}",
                f"logarithm of the field in the mask, {len(each)} frames together; alone {min(each):.3f} to {max(each):.3f}",
            )
        )
        many, _ = patients(Path(folder), cores() * (1 if given.quick else 4))
        run = partial(processes, Path(folder), many, settings)
        timings = [(timed(lambda: run(1)), timed(lambda: run(0))) for _ in range(turns)]
        one, all_cores = (list(column) for column in zip(*timings, strict=True))
        report(
            "preprocessing, all cores",
            Comparison(one, all_cores, "the same files, byte for byte (tests/cmr/test_preprocess.py)"),
            goal=0.9 * cores(),
            work=f"{len(many)} subjects of {named} in 1 and in {cores()} processes, seconds a subject",
            limit="starting the processes, and a last subject that one of them does alone",
            unit=len(many),
        )
    finish(given)


def patients(folder: Path, count: int) -> tuple[list[Subject], str]:
    """Real ACDC patients where there are any, else phantoms, and what they are called."""
    real = os.environ.get("SYNCMRI_REAL_DATA")
    root, named = (Path(real) / "acdc", "real ACDC") if real else (folder / f"raw-{count}", "the phantom")
    if not real:
        settings = PhantomSettings(slices=8, matrix=192)
        write_phantom(root, "acdc", {"training": count, "testing": 0}, settings=settings, seed=0)
    reader = READERS["acdc"](root, "acdc")
    return [reader.subject(patient) for patient in reader.patients()[:count]], named


def corrected_by_defaults(frame: Frame) -> Field:
    """N4 as SimpleITK has it at full resolution, then the same resampling."""
    image = sitk.GetImageFromArray(np.maximum(frame.image, 0))
    image.SetSpacing(frame.voxel_mm[::-1])
    mask = sitk.OtsuThreshold(image, 0, 1)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.Execute(image, mask)
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image))
    resample(frame.image / np.exp(field), frame.voxel_mm, SPACING_MM, nearest=False)
    resample(frame.label, frame.voxel_mm, SPACING_MM, nearest=True)
    return field, sitk.GetArrayFromImage(mask).astype(bool)


def correlations(fields: list[Field], subjects: list[Subject], settings: PreprocessSettings) -> tuple[float, list[float]]:
    """Of both ways' logarithmic fields, each about its mean in the frame's mask: over all frames, and frame by frame."""
    pairs = []
    frames = (frame for subject in subjects for frame in subject.frames())
    for frame, (field, mask) in zip(frames, fields, strict=True):
        inside = mask & (frame.image > 0)
        corrected = correct_bias(frame.image, frame.voxel_mm, settings.n4)
        mine = np.log(frame.image[inside] / corrected[inside])
        pairs.append(np.stack([mine - mine.mean(), field[inside] - field[inside].mean()]))
    together, *each = (float(np.corrcoef(pair)[0, 1]) for pair in (np.concatenate(pairs, axis=1), *pairs))
    return together, each


def processes(folder: Path, subjects: list[Subject], settings: PreprocessSettings, workers: int) -> None:
    """All of them from nothing, in so many processes."""
    with TemporaryDirectory(dir=folder) as fresh:
        changed = PreprocessSettings(settings.n4, workers)
        preprocess_dataset(subjects, changed, SPACING_MM, out=Path(fresh) / "out", cache=Path(fresh) / "cache")


if __name__ == "__main__":
    main()
