"""The reader that docs/extending.md shows is a third reader: one file, one line in the registry."""

import importlib
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from cmr.errors import DataError, DataErrors
from cmr.ingest import ingest
from cmr.nifti import write_volume
from cmr.readers import READERS, Reader
from tests.cmr.raw import MNMS_AFFINE, VOXEL_MM, heart, picture

PAGE = Path(__file__).parents[2] / "docs/extending.md"
PATIENTS = {"MR-0001": "training", "MR-0002": "training", "MR-0003": "testing"}


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """The page's reader, in a file of its own and in the registry."""
    section = PAGE.read_text().partition("## A reader for your hospital's layout")[2].partition("\n## ")[0]
    (tmp_path / "hospital_reader.py").write_text(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(READERS, "hospital", importlib.import_module("hospital_reader").HospitalReader)
    yield READERS["hospital"](tmp_path / "export", "ourhospital")
    del sys.modules["hospital_reader"]


@pytest.fixture
def export(tmp_path) -> Path:
    root = tmp_path / "export"
    stored = np.array([0, 2, 1, 3], dtype=np.uint8)[heart()]  # the export's labels: 1 myocardium, 2 LV, 3 RV
    for name in PATIENTS:
        for phase in ("ed", "es"):
            write_volume(root / name / f"{phase}.nii.gz", picture(f"{name} {phase}"), VOXEL_MM, MNMS_AFFINE)
            write_volume(root / name / f"{phase}_seg.nii.gz", stored, VOXEL_MM, MNMS_AFFINE)
    rows = [f"{name},{part},Canon,North,HCM" for name, part in PATIENTS.items()]
    (root / "patients.csv").write_text("\n".join(["id,part,scanner,site,diagnosis", *rows]))
    return root


def test_a_third_reader_is_ingested(reader: Reader, export: Path):
    found = ingest(reader, skip_bad=False)
    assert found.report["subjects"] == {"training": 2, "validation": 0, "testing": 1}
    assert found.report["vendors"] == {"Canon": 3}
    assert set(found.manifest["dataset"]) == {"ourhospital"}
    subject = reader.subjects()[0]
    np.testing.assert_array_equal(subject.frames()[1].label, heart())
    pickle.dumps(subject)


def test_it_gets_all_checks_for_nothing(reader: Reader, export: Path, truncate):
    truncate(export / "MR-0002/es.nii.gz", 50)
    (export / "MR-0003").rename(export / "elsewhere")
    with pytest.raises(DataErrors) as caught:
        ingest(reader, skip_bad=False)
    assert [fault.split(": ")[1][:28] for fault in caught.value.faults] == [
        "the compressed file is trunc",
        "the folder is missing. Expor",
    ]
    assert set(ingest(reader, skip_bad=True).manifest["subject"]) == {"MR-0001"}


def test_it_is_told_from_the_official_layouts(reader: Reader, export: Path, acdc_root: Path):
    with pytest.raises(DataError, match="this looks like our hospital's export"):
        READERS["acdc"](export, "acdc").subjects()
    with pytest.raises(DataError, match="this looks like ACDC"):
        READERS["hospital"](acdc_root, "ourhospital").subjects()
