"""Preprocessing, stage 1: N4 with SimpleITK's defaults in one process, against ours on one core, and ours on all cores.

    SYNCMRI_REAL_DATA=DIR python -m benchmarks.preprocessing [--quick]    # DIR/acdc: ACDC in its official layout

Without ``SYNCMRI_REAL_DATA`` the built-in phantom is measured, and the table says so. The plain way corrects each frame at full
resolution within an Otsu mask (four levels of 50 iterations) on one thread, then resamples; ours has the paper profile's
settings. Both find a bias field: their correlation within the mask, over all frames, must be 0.99 or more.
"""

import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from benchmarks.harness import Comparison, arguments, compare, cores, finish, repeats, report, timed
from cmr.phantom import PhantomSettings, write_phantom
from cmr.preprocess import PreprocessSettings, correct_bias, preprocess_dataset, preprocess_subject, resample
from cmr.readers import READERS
from cmr.subject import Frame, Subject
from mlops.profiles import merged
from mlops.settings import check, find_root

SPACING_MM = 1.5
CORRELATION = 0.99


def main() -> None:
    """Prints and records the figures; see the module."""
    parser = arguments(__doc__)
    parser.add_argument("--patients", type=int, default=None, help="how many (4; with --quick 2)")
    given = parser.parse_args()
    settings = check(merged(find_root(), "paper")["preprocess"], PreprocessSettings, "preprocess")
    with TemporaryDirectory(prefix="syncmri-benchmark-") as folder:
        subjects, named = patients(Path(folder), given.patients or (2 if given.quick else 4))
        told = f"bias fields: correlation {correlation(subjects, settings):.4f}"
        turns = repeats(given, usual=3, quick=1)
        found = compare(
            lambda: [plain(subject) for subject in subjects],
            lambda: [preprocess_subject(subject, settings, SPACING_MM) for subject in subjects],
            repeats=turns,
            agreement=told,
            warm=False,
        )
        work = f"{len(subjects)} subjects of {named}, both frames, one thread, seconds a subject"
        report("preprocessing, one core", found, goal=5, work=work, limit="levels of N4 cost what they see", unit=len(subjects))
        run = partial(processes, Path(folder), subjects, settings)
        timings = [(timed(lambda: run(1)), timed(lambda: run(0))) for _ in range(turns)]
        one, all_cores = (list(column) for column in zip(*timings, strict=True))
        report(
            "preprocessing, all cores",
            Comparison(one, all_cores, "the same files, byte for byte (tests/cmr/test_preprocess.py)"),
            goal=0.9 * cores(),
            work=f"{len(subjects)} subjects in 1 and in {cores()} processes, seconds a subject",
            limit="starting the processes, and a last subject that one of them does alone",
            unit=len(subjects),
        )
    finish(given)


def patients(folder: Path, count: int) -> tuple[list[Subject], str]:
    """Real ACDC patients where there are any, else phantoms, and what they are called."""
    real = os.environ.get("SYNCMRI_REAL_DATA")
    root, named = (Path(real) / "acdc", "real ACDC") if real else (folder / "raw", "the phantom")
    if not real:
        settings = PhantomSettings(slices=8, matrix=192)
        write_phantom(root, "acdc", {"training": count, "testing": 0}, settings=settings, seed=0)
    reader = READERS["acdc"](root, "acdc")
    return [reader.subject(patient) for patient in reader.patients()[:count]], named


def plain(subject: Subject) -> list[NDArray]:
    """N4 as SimpleITK has it, then the same resampling."""
    return [
        resample(frame.image / np.exp(default_field(frame)[0]), frame.voxel_mm, SPACING_MM, nearest=False)
        for frame in subject.frames()
    ]


def default_field(frame: Frame) -> tuple[NDArray, NDArray]:
    """Logarithm of the bias field by N4's defaults at full resolution, and the mask that it was found in."""
    image = sitk.GetImageFromArray(np.maximum(frame.image, 0))
    image.SetSpacing(frame.voxel_mm[::-1])
    mask = sitk.OtsuThreshold(image, 0, 1)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.Execute(image, mask)
    return sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)), sitk.GetArrayFromImage(mask).astype(bool)


def correlation(subjects: list[Subject], settings: PreprocessSettings) -> float:
    """Of both ways' logarithmic fields, each about its mean in the frame's mask. Ends the program where it is too low."""
    ours, theirs = [], []
    for frame in (frame for subject in subjects for frame in subject.frames()):
        field, mask = default_field(frame)
        mask &= frame.image > 0
        corrected = correct_bias(frame.image, frame.voxel_mm, settings.n4)
        mine = np.log(frame.image[mask] / corrected[mask])
        ours.append(mine - mine.mean())
        theirs.append(field[mask] - field[mask].mean())
    found = float(np.corrcoef(np.concatenate(ours), np.concatenate(theirs))[0, 1])
    if not found >= CORRELATION:
        raise SystemExit(f"bias fields: their correlation is {found:.4f}, less than {CORRELATION}: nothing was timed")
    return found


def processes(folder: Path, subjects: list[Subject], settings: PreprocessSettings, workers: int) -> None:
    """All of them from nothing, in so many processes."""
    with TemporaryDirectory(dir=folder) as fresh:
        changed = PreprocessSettings(settings.n4, workers)
        preprocess_dataset(subjects, changed, SPACING_MM, out=Path(fresh) / "out", cache=Path(fresh) / "cache")


if __name__ == "__main__":
    main()
