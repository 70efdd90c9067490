import csv
import hashlib
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cmr.errors import DataError
from cmr.phantom import PhantomSettings, write_phantom
from cmr.phantom.write import MNMS_TABLE, mnms_code

TINY = PhantomSettings(slices=5, matrix=48)


def hashes(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def acdc(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "acdc"
    write_phantom(root, "acdc", {"training": 2, "testing": 2}, settings=TINY, seed=1)
    return root


@pytest.fixture(scope="module")
def mnms(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "mnms"
    write_phantom(root, "mnms", {"training": 2, "validation": 1, "testing": 4}, settings=TINY, seed=1)
    return root


def table(root: Path) -> list[dict[str, str]]:
    with (root / MNMS_TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_acdc_has_the_official_layout(acdc):
    assert [path.name for path in sorted((acdc / "training").iterdir())] == ["patient001", "patient002"]
    assert [path.name for path in sorted((acdc / "testing").iterdir())] == ["patient101", "patient102"]
    folder = acdc / "training" / "patient002"
    info = dict(line.split(": ") for line in (folder / "Info.cfg").read_text().splitlines())
    assert list(info) == ["ED", "ES", "Group", "Height", "NbFrame", "Weight"]
    assert info["Group"] == "DCM"
    frames = [f"patient002_frame{int(info[phase]):02d}" for phase in ("ED", "ES")]
    assert 1 < int(info["ES"]) < int(info["NbFrame"])
    expected = {"Info.cfg", *(f"{frame}{end}.nii.gz" for frame in frames for end in ("", "_gt"))}
    assert {path.name for path in folder.iterdir()} == expected


def test_acdc_keeps_its_traps(acdc):
    """The voxel size is in pixdim only, and the RV is label 1: it lies left of label 3, the LV."""
    image = nib.load(next((acdc / "training" / "patient001").glob("*_frame01.nii.gz")))
    np.testing.assert_array_equal(image.affine, np.diag([-1, -1, 1, 1]))
    assert image.header.get_zooms()[0] == pytest.approx(image.header.get_zooms()[1])
    assert image.header.get_zooms()[0] > 3  # 48 pixels over more than 200 mm
    label = np.asarray(nib.load(next((acdc / "training" / "patient001").glob("*_frame01_gt.nii.gz"))).dataobj)
    assert image.shape == label.shape == (48, 48, 5)
    columns = {value: np.argwhere(label == value)[:, 0].mean() for value in (1, 2, 3)}
    assert columns[1] < columns[3]
    assert image.get_data_dtype() == np.int16


def test_mnms_has_the_official_layout(mnms):
    rows = table(mnms)
    assert list(rows[0])[:7] == ["", "External code", "VendorName", "Vendor", "Centre", "ED", "ES"]
    places = {"Training/Labeled": 2, "Validation": 1, "Testing": 4}
    found = {name: sorted(path.name for path in (mnms / name).iterdir()) for name in places}
    assert {name: len(codes) for name, codes in found.items()} == places
    assert sorted(row["External code"] for row in rows) == sorted(code for codes in found.values() for code in codes)
    assert {row["VendorName"] for row in rows} == {"Siemens", "Philips", "GE", "Canon"}
    for name, codes in found.items():
        for code in codes:
            assert re.fullmatch(r"([A-Z]\d){3}", code)
            image, label = (nib.load(mnms / name / code / f"{code}_sa{end}.nii.gz") for end in ("", "_gt"))
            assert image.shape == label.shape == (48, 48, 5, 2)
            assert abs(image.affine[0, 0]) == pytest.approx(image.header.get_zooms()[0])


def test_mnms_labels_put_the_lv_first(mnms):
    code = table(mnms)[0]["External code"]
    label = np.asarray(nib.load(next(mnms.rglob(f"{code}_sa_gt.nii.gz"))).dataobj)
    assert np.argwhere(label == 3)[:, 0].mean() < np.argwhere(label == 1)[:, 0].mean()
    ed, es = ((label[..., frame] == 1).sum() for frame in (0, 1))
    assert es < ed


def test_exactly_one_scan_lies_under_two_names(acdc):
    frames: dict[str, list[str]] = {}
    for name, digest in hashes(acdc).items():
        if "_frame01.nii.gz" in name:
            frames.setdefault(digest, []).append(Path(name).parent.as_posix())
    assert [names for names in frames.values() if len(names) > 1] == [["testing/patient102", "training/patient001"]]


def test_same_seed_same_bytes_other_seed_other_images(acdc, tmp_path):
    write_phantom(tmp_path / "again", "acdc", {"training": 2, "testing": 2}, settings=TINY, seed=1)
    assert hashes(tmp_path / "again") == hashes(acdc)
    write_phantom(tmp_path / "other", "acdc", {"training": 1, "testing": 0}, settings=TINY, seed=2)
    assert not set(hashes(tmp_path / "other").values()) & set(hashes(acdc).values())


@pytest.mark.parametrize("layout", ["acdc", "mnms"])
def test_more_patients_leave_the_earlier_ones_alone(layout, tmp_path, acdc, mnms):
    fewer = hashes({"acdc": acdc, "mnms": mnms}[layout])
    fewer.pop(MNMS_TABLE, None)
    more = {"acdc": {"training": 3, "testing": 3}, "mnms": {"training": 3, "validation": 2, "testing": 5}}[layout]
    write_phantom(tmp_path / "more", layout, more, settings=TINY, seed=1)
    assert fewer.items() < hashes(tmp_path / "more").items()


def test_codes_never_meet():
    codes = [mnms_code(3, part, index) for part in ("training", "validation", "testing") for index in range(3000)]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("layout", "patients", "message"),
    [
        ("emidec", {"training": 1}, "layout 'emidec' is unknown; known are acdc, mnms"),
        ("acdc", {"validation": 1}, "names validation; its parts are training, testing"),
        ("acdc", {"training": 101}, "training is 101; 0 to 100"),
        ("mnms", {"testing": -1}, "testing is -1"),
    ],
)
def test_wrong_requests_are_explained_and_nothing_is_written(layout, patients, message, tmp_path):
    with pytest.raises(DataError, match=re.escape(message)):
        write_phantom(tmp_path / "out", layout, patients, settings=TINY, seed=0)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_leaves_no_half_dataset(tmp_path, monkeypatch):
    def stop(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cmr.phantom.write._write_acdc_patient", stop)
    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "acdc", "acdc", {"training": 1}, settings=TINY, seed=0)
    assert not list(tmp_path.iterdir())
