"""Writes the phantom as raw data in the official ACDC and M&Ms layouts, traps included, for readers that know nothing of it."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cmr.errors import DataError
from cmr.files import whole_folder
from cmr.labels import LV, MYO, RV
from cmr.nifti import write_volume
from cmr.phantom.acquisition import SCANNERS
from cmr.phantom.patient import PhantomPatient, PhantomSettings, make_patient

PARTS = {"acdc": ("training", "testing"), "mnms": ("training", "validation", "testing")}
ACDC_LABELS = {RV: 1, MYO: 2, LV: 3}
ACDC_GROUPS = ("NOR", "DCM", "HCM", "MINF", "RV")
ACDC_FIRST_TEST = 101  # official numbering: training 001 to 100, testing from 101
DUPLICATE_TEST_INDEX = 1  # the second testing patient is a training patient's scan under another name

MNMS_FOLDERS = {"training": "Training/Labeled", "validation": "Validation", "testing": "Testing"}
MNMS_TABLE = "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
MNMS_COLUMNS = (
    "",
    "External code",
    "VendorName",
    "Vendor",
    "Centre",
    "ED",
    "ES",
    "Age",
    "Pathology",
    "Sex",
    "Height",
    "Weight",
)
MNMS_PATHOLOGIES = ("NOR", "HCM", "DCM", "HHD", "ARV")
# As in the challenge, labelled training scans come from two vendors; the other two are met in validation and testing only.
MNMS_VENDORS = {"training": "AB", "validation": "BCDA", "testing": "ABCD"}
MNMS_CENTRES = {"A": (1, 6), "B": (2, 3), "C": (4,), "D": (5,)}
_CODES = 26**3 * 10**3
_CODE_STRIDE = 7_368_787  # prime to _CODES, so that counting by it meets every code once
_PART_CODES = 1_000_000


def write_phantom(root: Path, layout: str, patients: dict[str, int], *, settings: PhantomSettings, seed: int) -> None:
    """Write a whole phantom dataset; ``root`` appears only when it is complete, and replaces an earlier one.

    A patient depends on the seed, the layout, the part and its index in the part, not on how many others there are: adding
    patients leaves the files of the earlier ones as they were, byte for byte. With two or more testing patients, and any
    training patient, the second ACDC testing patient (patient102) is patient001 again: the real dataset, too, holds one scan
    under two names.

    Args:
        root: the dataset's folder, for example ``data/phantom/acdc``.
        layout: ``"acdc"`` (3D file a frame, affine diag(-1, -1, 1, 1) whatever the voxel size, labels 1 RV 2 MYO 3 LV, one
            vendor) or ``"mnms"`` (4D file with ED and ES, information table, labels 1 LV 2 MYO 3 RV, vendors A to D).
        patients: number of patients a part: training and testing, for M&Ms also validation.
        settings: size of a scan.
        seed: the same seed gives the same bytes.

    Raises:
        DataError: an unknown layout or part, a negative or too large number of patients, or a full disk.
    """
    _check(layout, patients)
    with whole_folder(root) as folder:
        if layout == "acdc":
            _write_acdc(folder, patients, settings, seed)
        else:
            _write_mnms(folder, patients, settings, seed)


def _check(layout: str, patients: dict[str, int]) -> None:
    if layout not in PARTS:
        raise DataError(f"phantom layout {layout!r} is unknown; known are {', '.join(PARTS)}.")
    unknown = sorted(set(patients) - set(PARTS[layout]))
    if unknown:
        raise DataError(f"phantom.patients.{layout} names {', '.join(unknown)}; its parts are {', '.join(PARTS[layout])}.")
    limit = ACDC_FIRST_TEST - 1 if layout == "acdc" else _PART_CODES
    for part, count in patients.items():
        if not 0 <= count <= limit:
            raise DataError(f"phantom.patients.{layout}.{part} is {count}; 0 to {limit} fit the official names.")


def _seed(seed: int, layout: str, part: str, index: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(list(PARTS).index(layout), PARTS[layout].index(part), index))


def _places(layout: str, patients: dict[str, int]) -> Iterator[tuple[str, int]]:
    places = [(part, index) for part in PARTS[layout] for index in range(patients.get(part, 0))]
    yield from tqdm(places, desc=f"phantom {layout}", unit="patient", disable=None)


def _write_acdc(folder: Path, patients: dict[str, int], settings: PhantomSettings, seed: int) -> None:
    for part in PARTS["acdc"]:
        (folder / part).mkdir()
    for part, index in _places("acdc", patients):
        number = index + (ACDC_FIRST_TEST if part == "testing" else 1)
        source = (part, index)
        if source == ("testing", DUPLICATE_TEST_INDEX) and patients.get("training", 0):
            source = ("training", 0)
        group = ACDC_GROUPS[source[1] % len(ACDC_GROUPS)]
        patient = make_patient(_seed(seed, "acdc", *source), scanner="acdc", pathology=group, settings=settings)
        _write_acdc_patient(folder / part / f"patient{number:03d}", patient, group)


def _write_acdc_patient(folder: Path, patient: PhantomPatient, group: str) -> None:
    folder.mkdir()
    frames = {"ED": 1, "ES": patient.es_frame}
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    for frame, image, label in zip(frames.values(), patient.images, patient.labels, strict=True):
        stem = f"{folder.name}_frame{frame:02d}"
        write_volume(folder / f"{stem}.nii.gz", image, patient.voxel_mm, affine)
        write_volume(folder / f"{stem}_gt.nii.gz", _relabel(label, ACDC_LABELS), patient.voxel_mm, affine)
    facts = {
        **frames,
        "Group": group,
        "Height": float(patient.height_cm),
        "NbFrame": patient.frames,
        "Weight": float(patient.weight_kg),
    }
    (folder / "Info.cfg").write_text("".join(f"{key}: {value}\n" for key, value in facts.items()), encoding="utf-8")


def _relabel(label: NDArray[np.uint8], scheme: dict[int, int]) -> NDArray[np.uint8]:
    table = np.zeros(4, np.uint8)
    for inside, stored in scheme.items():
        table[inside] = stored
    return table[label]


def _write_mnms(folder: Path, patients: dict[str, int], settings: PhantomSettings, seed: int) -> None:
    for name in MNMS_FOLDERS.values():
        (folder / name).mkdir(parents=True)
    rows = []
    for part, index in _places("mnms", patients):
        vendors = MNMS_VENDORS[part]
        vendor = vendors[index % len(vendors)]
        centres = MNMS_CENTRES[vendor]
        centre = centres[(index // len(vendors)) % len(centres)]
        # The pathology turns once more at each full round, so that vendors and pathologies meet in all combinations.
        pathology = MNMS_PATHOLOGIES[(index + index // 20) % len(MNMS_PATHOLOGIES)]
        patient = make_patient(_seed(seed, "mnms", part, index), scanner=vendor, pathology=pathology, settings=settings)
        code = mnms_code(seed, part, index)
        _write_mnms_patient(folder / MNMS_FOLDERS[part] / code, patient)
        height = "" if vendor == "B" else patient.height_cm  # the Philips sites did not record it
        facts = [vendor, centre, 0, 1, patient.age, pathology, patient.sex, height, patient.weight_kg]
        rows.append([code, SCANNERS[vendor].name, *facts])
    with (folder / MNMS_TABLE).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(MNMS_COLUMNS)
        table.writerows([number, *row] for number, row in enumerate(sorted(rows)))


def mnms_code(seed: int, part: str, index: int) -> str:
    """A code like ``A0S9V9``; different for every part and index of a seed, however many patients there are."""
    start = int(np.random.SeedSequence(seed).generate_state(1)[0])
    number = (start + _CODE_STRIDE * (PARTS["mnms"].index(part) * _PART_CODES + index)) % _CODES
    code = ""
    for _ in range(3):
        number, digit = divmod(number, 10)
        number, letter = divmod(number, 26)
        code += f"{chr(ord('A') + letter)}{digit}"
    return code


def _write_mnms_patient(folder: Path, patient: PhantomPatient) -> None:
    """The stack runs from apex to base, as most M&Ms stacks do."""
    folder.mkdir()
    slice_mm, row_mm, column_mm = patient.voxel_mm
    affine = np.diag([-column_mm, -row_mm, slice_mm, 1.0])
    image, label = (np.stack(arrays)[:, ::-1] for arrays in (patient.images, patient.labels))
    write_volume(folder / f"{folder.name}_sa.nii.gz", image, patient.voxel_mm, affine)
    write_volume(folder / f"{folder.name}_sa_gt.nii.gz", label, patient.voxel_mm, affine)
