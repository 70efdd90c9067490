"""No real patient is refused or warned of for its headers: set SYNCMRI_REAL_DATA to a folder that holds acdc/ and mnms/."""

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cmr.geometry import difference, read_geometry

ROOT = Path(os.environ.get("SYNCMRI_REAL_DATA", ""))
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.environ.get("SYNCMRI_REAL_DATA"), reason="SYNCMRI_REAL_DATA is not set"),
]


def header(path: Path) -> nib.Nifti1Header:
    with gzip.open(path) as file:
        return nib.Nifti1Header(file.read(348), check=False)


def test_all_pairs_lie_on_one_another_and_are_shown_as_they_are_stored() -> None:
    masks = sorted(ROOT.glob("acdc/*/*/*_gt.nii.gz")) + sorted(ROOT.glob("mnms/**/*_gt.nii.gz"))
    assert len(masks) == 223
    for mask in masks:
        image = mask.with_name(mask.name.replace("_gt", ""))
        found = []
        for path in (image, mask):
            of = header(path)
            found.append(read_geometry(path, of, of.get_data_shape()[:3]))
            assert np.array_equal(found[-1].axes, [[0, 1], [1, 1], [2, 1]]), path
            assert found[-1].stored == "LPS"
            assert float(of["vox_offset"]) >= 352
        assert difference(*found) == "", mask
