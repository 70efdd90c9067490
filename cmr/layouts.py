"""Which files a folder of images or masks holds: a flat one, or one in a layout that the exports write."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmr.errors import DataError
from cmr.files import why_not_here
from cmr.labels import STRUCTURES
from cmr.patients import PATIENTS, patient_of, patients_of
from cmr.readers.acdc import SCHEME

SUFFIXES = {".png": "PNG", ".nii": "NIfTI", ".nii.gz": "NIfTI"}
_CHANNEL = "_0000"  # of an image with one channel, in nnU-Net's names
_SAME = np.arange(256, dtype=np.uint8)
_SHOWN = 3


@dataclass(frozen=True)
class Files:
    """What there is to read, in one order.

    Attributes:
        images, masks: one file an entry; either is empty where the folder has none.
        names: of each, without ending; for pairs and for the user.
        patients: of each.
        scheme: the stored label -> the one inside, as an array.
        notes: what was assumed and what is not read, in sentences.
    """

    images: list[Path]
    masks: list[Path]
    names: list[str]
    patients: list[str]
    scheme: NDArray[np.uint8]
    notes: list[str]


def find_files(path: Path) -> Files:
    """The files of a single file, a flat folder, or an export's layout: ``images`` and ``masks``; ``imagesTr`` and ``labelsTr``
    (nnU-Net), also one level below; ``training/NAME/NAME_frameFF.nii.gz`` (ACDC).

    Of a flat folder nobody knows whether it holds images or masks: both lists are the same.

    Raises:
        DataError: nothing to read, files that were not fetched, PNG beside NIfTI, one name twice, images without their masks.
    """
    if path.is_file():
        if not path.name.lower().endswith(tuple(SUFFIXES)):
            raise DataError(f"{path}: is no .png, .nii or .nii.gz file; expected images, or a slice store")
        [name] = _stems(path, [path])
        return Files([path], [path], [name], [patient_of(name)], _SAME, [])
    if layout := _layout(path):
        return layout
    found, notes = _flat(path)
    names = _stems(path, found)
    patients, remarks = patients_of(path, [file.name for file in found], names)
    return Files(found, found, names, patients, _SAME, [*notes, *remarks])


def stem(name: str) -> str:
    """A file's name without ``.png``, ``.nii`` or ``.nii.gz``."""
    return name[: -len(next(suffix for suffix in sorted(SUFFIXES, key=len)[::-1] if name.lower().endswith(suffix)))]


def kind(files: list[Path]) -> str:
    """``"PNG"`` or ``"NIfTI"``."""
    return next(kind for suffix, kind in SUFFIXES.items() if files[0].name.lower().endswith(suffix))


def _layout(path: Path) -> Files | None:
    datasets = sorted(folder for folder in path.glob("Dataset*_*") if (folder / "imagesTr").is_dir())
    for root in (path, *(datasets if len(datasets) == 1 else ())):
        if (root / "imagesTr").is_dir() and (root / "labelsTr").is_dir():
            return _paired(root / "imagesTr", root / "labelsTr", _nnunet_scheme(root))
    if (path / "images").is_dir() and (path / "masks").is_dir():
        return _paired(path / "images", path / "masks", _SAME)
    masks = [mask for part in ("training", "testing") for mask in path.glob(f"{part}/*/*_frame??_gt.nii*")]
    return _acdc(path, sorted(masks)) if masks else None


def _paired(images: Path, masks: Path, scheme: NDArray[np.uint8]) -> Files:
    (found, notes), (drawn, more) = _flat(images), _flat(masks)
    names, of_masks = _stems(images, found), _stems(masks, drawn)
    if names != of_masks:
        odd = sorted(set(names) ^ set(of_masks))
        raise DataError(f"{images} and {masks}: {len(odd)} names are not in both (first: {odd[0]}); expected a mask an image")
    patients, remarks = patients_of(images, [file.name for file in found], names)
    return Files(found, drawn, names, patients, scheme, [*notes, *more, *remarks])


def _acdc(root: Path, masks: list[Path]) -> Files:
    names = [stem(mask.name).removesuffix("_gt") for mask in masks]
    images = [mask.with_name(mask.name.replace("_gt.nii", ".nii")) for mask in masks]
    _refuse_absent(root, [*images, *masks])
    if lacking := [image for image in images if not image.is_file()]:
        raise DataError(f"{lacking[0]}: missing, and {len(lacking) - 1} others; expected an image for each mask")
    patients = [mask.parent.name for mask in masks]
    if len(set(patients)) == len(patients):
        names = patients
    return Files(images, masks, names, patients, np.array([*SCHEME, *_SAME[len(SCHEME) :]], np.uint8), ["ACDC's layout"])


def _nnunet_scheme(root: Path) -> NDArray[np.uint8]:
    """From the names that ``dataset.json`` gives to its labels; as they are where it names no structure of the heart."""
    try:
        labels = json.loads((root / "dataset.json").read_text(encoding="utf-8")).get("labels", {})
        numbers = {int(labels[name]): number for name, number in STRUCTURES.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _SAME
    scheme = _SAME.copy()
    scheme[list(numbers)] = list(numbers.values())
    return scheme


def _flat(path: Path) -> tuple[list[Path], list[str]]:
    """The images in a folder itself, sorted, and what lies there and is not read."""
    inside = sorted(file for file in path.iterdir() if file.name != PATIENTS and file.name[0] != ".")
    found = [file for file in inside if not file.is_dir() and file.name.lower().endswith(tuple(SUFFIXES))]
    others = [file.name for file in inside if file not in set(found)]
    listed = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
    if not found:
        raise DataError(
            f"{path}: holds no .png, .nii or .nii.gz file, {f'only {listed}' if others else 'nothing'}; expected images, or a "
            "slice store"
        )
    _refuse_absent(path, found)
    if len({kind([file]) for file in found}) > 1:
        raise DataError(f"{path}: PNG and NIfTI files are mixed; keep them in folders of their own: their values differ")
    return found, [f"{len(others)} other files and folders are not read: {listed}"] if others else []


def _refuse_absent(path: Path, files: list[Path]) -> None:
    absent = [(file, reason) for file in files if (reason := why_not_here(file))]
    if absent:
        file, reason = absent[0]
        raise DataError(f"{path}: {len(absent)} of {len(files)} files are not there. The first, {file.name}, {reason}")


def _stems(path: Path, files: list[Path]) -> list[str]:
    stems = [stem(file.name) for file in files]
    if kind(files) == "NIfTI" and all(name.endswith(_CHANNEL) for name in stems):
        stems = [name.removesuffix(_CHANNEL) for name in stems]
    if twice := [name for name, count in Counter(stems).items() if count > 1]:
        raise DataError(f"{path}: several files are called {twice[0]}; expected one: remove those that are not to be used")
    return stems
