"""What every dataset layout has in common. A layout is one small file with one class under :class:`Reader`."""

from abc import ABC, abstractmethod
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from cmr.errors import DataError, DataErrors
from cmr.files import why_not_here
from cmr.geometry import difference
from cmr.labels import whole_labels
from cmr.nifti import NiftiFile
from cmr.subject import Frame, Subject

PHASES = ("ED", "ES")
UNKNOWN = "unknown"
_LARGEST = 1e30  # float32 ends at 3.4e38, and sums have to stay below
_NARROWEST_MM, _WIDEST_MM = 10.0, 1000.0  # of a slice that can hold a heart, and of what scanners see


class Patient(NamedTuple):
    """A patient as listed in a dataset: ``part`` is ``"training"``, ``"validation"`` or ``"testing"``."""

    id: str
    part: str
    path: Path


class Reader(ABC):
    """Finds the patients of one dataset on disk. A new layout implements :meth:`patients` and :meth:`subject`.

    Args:
        root: the dataset's folder.
        dataset: the name under which the dataset is configured.
    """

    layout: ClassVar[str]
    """The layout's name in messages."""

    signature: ClassVar[tuple[str, ...]] = ()
    """Glob patterns under the root, one of which matches in any folder of this layout; for advice on a wrong folder."""

    def __init__(self, root: Path, dataset: str):
        self.root = root
        self.dataset = dataset

    @abstractmethod
    def patients(self) -> list[Patient]:
        """List the patients by name, without opening their files; empty where the root is not of this layout.

        Raises:
            DataError: a fault that concerns the dataset as a whole, such as a missing table.
        """

    @abstractmethod
    def subject(self, patient: Patient) -> Subject:
        """Describe one patient; its ``frames`` reads the pixels, and must pickle (a :func:`functools.partial`, no lambda).

        Raises:
            DataError: a fault of this patient.
        """

    def subjects(self) -> list[Subject]:
        """All patients, sorted by id; no pixel is read.

        A patient with a fault of its own (a missing file, no table row) is still listed: its ``frames`` raises that fault, so
        that whoever reads the pixels can list all bad patients at once, or skip them.

        Raises:
            DataError: the folder is missing, empty or of another layout, or a fault concerns the dataset as a whole.
            DataErrors: a patient's id lies in two parts of the dataset.
        """
        another_layout = self.signature and not self._matches(self.root) and _layout_of(self.root)
        patients = self.patients() if self.root.is_dir() and not another_layout else []
        if not patients:
            raise DataError(self._wrong_folder())
        _refuse_shared_ids(patients)
        return [self._subject(patient) for patient in sorted(patients)]

    def unused(self) -> dict[str, int]:
        """Number of patients that the dataset holds and the platform does not use, by folder."""
        return {}

    def _subject(self, patient: Patient) -> Subject:
        try:
            if reason := why_not_here(patient.path):
                raise DataError(f"{patient.path}: {reason}")
            return self.subject(patient)
        except DataError as fault:
            frames = partial(_raise_fault, str(fault))
            return Subject(patient.id, self.dataset, patient.part, UNKNOWN, UNKNOWN, UNKNOWN, frames)

    @classmethod
    def _matches(cls, folder: Path) -> bool:
        return any(next(folder.glob(pattern), None) for pattern in cls.signature)

    def _wrong_folder(self) -> str:
        start = f"{self.root}: no {self.layout} patients found: "
        if reason := why_not_here(self.root):
            return f"{self.root}: {reason}"
        if not self.root.exists():
            return start + "the folder doesn't exist. Correct the path of the dataset."
        if not self.root.is_dir():
            return start + "this is a file. Give the dataset's folder."
        if not any(self.root.iterdir()):
            return start + "the folder is empty. Download the dataset into it, or correct the path."
        if layout := _layout_of(self.root):
            return (
                start + f"this looks like {layout}. Give this folder as {layout}, and {self.layout}'s folder as {self.layout}."
            )
        for child in folders_in(self.root):
            if layout := _layout_of(child):
                return start + f"the folder is one level too high, {child.name} in it looks like {layout}. Give {child}."
        for parent in self.root.absolute().parents[:2]:
            if layout := _layout_of(parent):
                return start + f"the folder lies inside what looks like {layout}. Give {parent}."
        names = sorted(path.name for path in self.root.iterdir())
        listed = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        return start + f"it holds {listed}; expected {' or '.join(self.signature) or 'another layout'}. Correct the path."


def folders_in(folder: Path) -> list[Path]:
    """The visible folders in a folder, sorted, and links to folders that are not there; none where it doesn't exist."""
    if not folder.is_dir():
        return []
    visible = (path for path in folder.iterdir() if not path.name.startswith((".", "__")))
    return sorted(path for path in visible if path.is_dir() or not path.exists())


def patients_in_parts(root: Path, parts: dict[str, str]) -> list[Patient]:
    """One patient a folder, in the part folders (folder under the root -> part) that exist."""
    return [Patient(path.name, part, path) for folder, part in parts.items() for path in folders_in(root / folder)]


def find_volume(folder: Path, stem: str) -> Path | None:
    """The file ``stem.nii.gz`` or ``stem.nii`` in a folder; None where there is neither.

    Raises:
        DataError: both are there, or the file is a link to something that is not there.
    """
    found = [path for end in (".nii.gz", ".nii") if (path := folder / f"{stem}{end}").is_symlink() or path.is_file()]
    if len(found) > 1:
        raise DataError(f"{folder}: holds both {found[0].name} and {found[1].name}. Remove the one that is not to be used.")
    for path in found:
        if reason := why_not_here(path):
            raise DataError(f"{path}: {reason}")
    return found[0] if found else None


def whole_number(text: str) -> int | None:
    """The whole number that a table's cell holds (``1``, ``1.0``, ``1,0``); None where it holds none."""
    try:
        number = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def labelled_frame(
    phase: str, image: NiftiFile, label: NiftiFile, scheme: tuple[int, int, int, int], *, index: int = 0
) -> Frame:
    """Decode and check one labelled time point.

    Args:
        phase: ``"ED"`` or ``"ES"``.
        image, label: files of the same shape.
        scheme: what the dataset's labels 0, 1, 2, 3 mean in :mod:`cmr.labels`.
        index: time point in both files, counted from 0.

    Raises:
        DataError: the files' voxels don't lie on one another; the image has NaNs or one value only; labels are outside 0-3, no
            integers, or all 0.
    """
    if image.shape != label.shape:
        raise DataError(
            f"{label.path}: the mask has {_sizes(label.shape)} and its image {image.path.name} has {_sizes(image.shape)}; the "
            "same shape was expected. Draw the mask on this image's grid, or fetch the pair again."
        )
    _refuse_impossible_plane(image)
    if reason := difference(image.geometry, label.geometry):
        raise DataError(
            f"{label.path}: the mask doesn't lie on its image {image.path.name}: {reason}. The mask has {label.geometry}; the "
            f"image has {image.geometry}. Resample the mask to the image; or, if its voxels are in the image's order and only "
            "its header is wrong, copy the image's header to it."
        )
    values = _image_values(phase, image, index)
    labels = _label_values(phase, label, scheme, index)
    return Frame(phase, values, labels, image.voxel_mm, (*image.notes, *label.notes))


def _refuse_impossible_plane(image: NiftiFile) -> None:
    rows_mm, columns_mm = (size * edge for size, edge in zip(image.shape[1:], image.voxel_mm[1:], strict=True))
    if not _NARROWEST_MM <= min(rows_mm, columns_mm) <= max(rows_mm, columns_mm) <= _WIDEST_MM:
        raise DataError(
            f"{image.path}: a slice of {image.shape[1]} x {image.shape[2]} pixels of {image.voxel_mm[1]:g} x "
            f"{image.voxel_mm[2]:g} mm covers {rows_mm:g} x {columns_mm:g} mm; {_NARROWEST_MM:g} to {_WIDEST_MM:g} mm were "
            "expected. Correct `pixdim`, or its unit in `xyzt_units`."
        )


def _image_values(phase: str, image: NiftiFile, index: int) -> NDArray[np.float32]:
    stored = image.values(index)
    finite = np.isfinite(stored)
    if not finite.all():
        raise DataError(
            f"{image.path}: {100 * (1 - finite.mean()):.3g} % of the {phase} image's pixels are NaN or infinite; finite "
            "numbers were expected. Export the image again."
        )
    largest = max(abs(float(stored.min())), abs(float(stored.max())))
    if largest > _LARGEST:
        raise DataError(
            f"{image.path}: the {phase} image has grey values up to {largest:.3g} in magnitude; at most {_LARGEST:g} can be "
            "computed with. Divide them by a constant, or correct `scl_slope`."
        )
    values = np.ascontiguousarray(stored, dtype=np.float32)
    if values.min() == values.max():
        raise DataError(
            f"{image.path}: every pixel of the {phase} image is {values.flat[0]:g}; a picture was expected. Export it again."
        )
    return values


def _label_values(phase: str, label: NiftiFile, scheme: tuple[int, int, int, int], index: int) -> NDArray[np.uint8]:
    values, odd = whole_labels(label.values(index))
    if odd:
        listed = ", ".join(odd[:6]) + (", ..." if len(odd) > 6 else "")
        raise DataError(
            f"{label.path}: the {phase} mask holds the labels {listed}; the whole numbers 0 to 3 were expected (background, "
            "left ventricle, myocardium, right ventricle). Re-label the mask, or remove the patient."
        )
    if not values.any():
        raise DataError(
            f"{label.path}: no pixel of the {phase} mask is labelled{_where_labels_are(label)}. Correct this patient's "
            f"{phase} entry, or label the frame."
        )
    return np.asarray(scheme, dtype=np.uint8)[values]


def _where_labels_are(label: NiftiFile) -> str:
    if label.frames == 1:
        return ""
    labelled = [str(index) for index in range(label.frames) if label.values(index).any()]
    return f"; the file's labelled frames (counted from 0) are: {', '.join(labelled) or 'none'}"


def _sizes(shape: tuple[int, int, int]) -> str:
    return "{} slices of {} x {} pixels".format(*shape)


def _refuse_shared_ids(patients: list[Patient]) -> None:
    places = defaultdict(list)
    for patient in patients:
        places[patient.id].append(patient)
    faults = [
        f"{name}: {' and '.join(str(patient.path) for patient in found)}" for name, found in places.items() if len(found) > 1
    ]
    if faults:
        raise DataErrors(
            "One patient can't lie in two parts of a dataset, test figures would be worthless. Remove one copy, or rename it "
            "if these are different patients:",
            sorted(faults),
        )


def _layout_of(folder: Path) -> str | None:
    return next((reader.layout for reader in Reader.__subclasses__() if reader._matches(folder)), None)


def _raise_fault(message: str) -> NoReturn:
    raise DataError(message)
