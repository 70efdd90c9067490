"""The official ACDC layout (Bernard et al. 2018, doi:10.1109/TMI.2018.2837502)."""

from functools import partial
from pathlib import Path

from cmr.errors import DataError
from cmr.labels import BACKGROUND, LV, MYO, RV
from cmr.nifti import NiftiFile
from cmr.readers.base import PHASES, UNKNOWN, Patient, Reader, find_volume, labelled_frame, patients_in_parts, whole_number
from cmr.subject import Frame, Subject
from cmr.text import read_text

_PARTS = {"training": "training", "testing": "testing"}
SCHEME = (BACKGROUND, RV, MYO, LV)


class AcdcReader(Reader):
    """``training|testing/patientNNN`` with ``Info.cfg``, ``patientNNN_frameFF.nii.gz`` and ``_frameFF_gt.nii.gz``, or ``.nii``.

    ``Info.cfg`` names the ED and ES frame, counted from 1. The cine file ``_4d.nii.gz`` is not needed. All scans were made at
    the University Hospital of Dijon on Siemens scanners.
    """

    layout = "ACDC"
    signature = ("training/*/Info.cfg", "testing/*/Info.cfg")

    def patients(self) -> list[Patient]:
        return patients_in_parts(self.root, _PARTS)

    def subject(self, patient: Patient) -> Subject:
        info = _read_info(patient.path / "Info.cfg")
        files = tuple((phase, *_frame_files(patient, info, phase)) for phase in PHASES)
        frames = partial(_read_frames, files)
        return Subject(patient.id, self.dataset, patient.part, "Siemens", "1", info.get("Group") or UNKNOWN, frames)


def _read_info(path: Path) -> dict[str, str]:
    if not path.is_symlink() and not path.is_file():
        raise DataError(
            f"{path}: the file is missing; every ACDC patient has one, with the lines `ED: N` and `ES: N`. Put it there, "
            "or remove the patient's folder."
        )
    pairs = (line.partition(":") for line in read_text(path).splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _frame_files(patient: Patient, info: dict[str, str], phase: str) -> tuple[Path, Path]:
    """The image and the label file of one phase; both exist."""
    entry = next((value for key, value in info.items() if key.upper() == phase), "")
    number = whole_number(entry)
    if number is None or number < 1:
        raise DataError(
            f"{patient.path / 'Info.cfg'}: the {phase} frame is {entry or 'not given'!r} (keys: {', '.join(info) or 'none'}); "
            f"a line like `{phase}: 1` was expected. Correct the file."
        )
    stem = f"{patient.id}_frame{number:02d}"
    image, label = (find_volume(patient.path, name) for name in (stem, f"{stem}_gt"))
    if image is None:
        present = sorted(path.name for path in patient.path.glob("*_frame*.nii*") if "_gt" not in path.name)
        raise DataError(
            f"{patient.path / stem}.nii.gz: the {phase} frame doesn't exist: Info.cfg says {phase}: {entry}, of "
            f"{info.get('NbFrame', 'unknown')} frames; the folder holds {', '.join(present) or 'no frame'}. Correct Info.cfg, "
            "or fetch the missing file."
        )
    if label is None:
        raise DataError(
            f"{patient.path / stem}_gt.nii.gz: the mask of the {phase} frame is missing. Put it there, or remove the patient's "
            "folder."
        )
    return image, label


def _read_frames(files: tuple[tuple[str, Path, Path], ...]) -> list[Frame]:
    return [labelled_frame(phase, NiftiFile.open(image), NiftiFile.open(label), SCHEME) for phase, image, label in files]
