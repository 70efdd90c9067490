"""Tiny raw datasets in the official layouts: 3 slices of 24 x 20 pixels, every patient another picture."""

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmr.labels import LV, MYO, RV
from cmr.nifti import write_volume

SHAPE = (3, 24, 20)
VOXEL_MM = (10.0, 1.5, 1.25)
ACDC_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
MNMS_AFFINE = np.diag([-1.25, -1.5, 10.0, 1.0])
_ACDC_STORES = np.array([0, 3, 2, 1], dtype=np.uint8)  # LV is 3 and RV is 1 in ACDC's files

TABLE_COLUMNS = ["External code", "VendorName", "Vendor", "Centre", "ED", "ES", "Age", "Pathology", "Sex", "Height", "Weight"]


def heart() -> NDArray[np.uint8]:
    """(3, 24, 20) labels: RV on the left of a myocardial ring with the LV inside; the last slice is empty."""
    label = np.zeros(SHAPE, dtype=np.uint8)
    label[:2, 8:16, 3:7] = RV
    label[:2, 7:17, 7:17] = MYO
    label[:2, 9:15, 9:15] = LV
    return label


def picture(name: str) -> NDArray[np.int16]:
    """(3, 24, 20) noise that depends on the name only."""
    return np.random.default_rng(zlib.crc32(name.encode())).integers(0, 1000, SHAPE, dtype=np.int16)


def add_acdc_patient(root: Path, part: str, name: str, *, scan: str | None = None, ed: int = 1, es: int = 12) -> Path:
    """Write one patient whose pixels are those of ``scan`` (else of its own name)."""
    folder = root / part / name
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text(f"ED: {ed}\nES: {es}\nGroup: DCM\nHeight: 169.0\nNbFrame: 30\nWeight: 79.0\n")
    for phase, frame in (("ED", ed), ("ES", es)):
        stem = folder / f"{name}_frame{frame:02d}"
        write_volume(stem.with_name(stem.name + ".nii.gz"), picture(f"{scan or name} {phase}"), VOXEL_MM, ACDC_AFFINE)
        write_volume(stem.with_name(stem.name + "_gt.nii.gz"), _ACDC_STORES[heart()], VOXEL_MM, ACDC_AFFINE)
    return folder


def add_mnms_patient(root: Path, part: str, code: str, *, phases: int = 4, ed: int = 0, es: int = 2) -> Path:
    """Write one patient's 4D image and labels, labelled at ``ed`` and ``es`` only. Its table row is not written."""
    folder = root / part / code
    image = np.stack([picture(f"{code} {phase}") for phase in range(phases)])
    label = np.zeros(image.shape, dtype=np.uint8)
    label[[ed, es]] = heart()
    write_volume(folder / f"{code}_sa.nii.gz", image, VOXEL_MM, MNMS_AFFINE)
    write_volume(folder / f"{code}_sa_gt.nii.gz", label, VOXEL_MM, MNMS_AFFINE)
    return folder


def table_row(code: str, vendor: str = "Siemens", centre: str = "1", ed: str = "0", es: str = "2") -> list[str]:
    return [code, vendor, vendor[0], centre, ed, es, "60", "HCM", "F", "", "80"]


def write_table(root: Path, rows: list[list[str]], columns: list[str] = TABLE_COLUMNS) -> Path:
    """The information table, with an unnamed first column as in the official file."""
    path = root / "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
    lines = [",".join(["", *columns]), *(",".join([str(number), *row]) for number, row in enumerate(rows))]
    path.write_text("\n".join(lines) + "\n")
    return path
