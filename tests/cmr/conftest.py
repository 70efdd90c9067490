"""Fixtures shared by the tests of ``cmr``."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cmr.raw import add_acdc_patient, add_mnms_patient, table_row, write_table


@pytest.fixture
def acdc_root(tmp_path: Path) -> Path:
    """Three training and two testing patients."""
    root = tmp_path / "acdc"
    for part, names in {
        "training": ["patient001", "patient002", "patient003"],
        "testing": ["patient101", "patient102"],
    }.items():
        for name in names:
            add_acdc_patient(root, part, name)
    return root


@pytest.fixture
def mnms_root(tmp_path: Path) -> Path:
    """Two training, one validation, one testing patient, and one without labels."""
    root = tmp_path / "mnms"
    parts = {"A0S9V9": "Training/Labeled", "B1S9V9": "Training/Labeled", "C2S9V9": "Validation", "D3S9V9": "Testing"}
    for code, part in parts.items():
        add_mnms_patient(root, part, code)
    (root / "Training/Unlabeled/E4S9V9").mkdir(parents=True)
    vendors = ["Siemens", "Philips", "GE", "Canon"]
    rows = [table_row(code, vendor, str(centre)) for centre, (code, vendor) in enumerate(zip(parts, vendors, strict=True), 1)]
    write_table(root, [*rows, table_row("E4S9V9", ed="", es="")])
    return root


@pytest.fixture
def truncate() -> Callable[[Path, int], None]:
    """Cut the last bytes off a file."""

    def cut(path: Path, lost: int) -> None:
        path.write_bytes(path.read_bytes()[:-lost])

    return cut
