"""The search for real pictures and identifiers finds what it must, however it is presented, and nothing else."""

import base64
import io
import json
import zipfile
from pathlib import Path
from urllib.parse import quote

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cmr.store import SliceStore
from pipelines.reporting.pictures import grid_picture, outlines
from tests.leaks import identifiers_in, real_pictures_in
from tests.pipelines.report_project import SIZE, build_project, heart, picture

COLOURS = np.array([[0, 0, 0], [245, 195, 68], [64, 120, 192], [214, 69, 65]], np.uint8)  # of nobody's palette


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_project(tmp_path_factory.mktemp("project"), figures=True)


@pytest.fixture(scope="module")
def real(project: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A hold-out slice as grey levels, and its mask."""
    store = SliceStore.open(project / "data/cohort/holdout")
    return grey(np.asarray(store.images[5])), np.asarray(store.masks[5])  # type: ignore[index]


def grey(image: NDArray) -> NDArray[np.uint8]:
    return np.clip((image.astype(np.float32) + 1) * 127.5, 0, 255).astype(np.uint8)


def uri(picture: Image.Image, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def sheet(tile: NDArray[np.uint8]) -> Image.Image:
    rng = np.random.default_rng(3)
    others = [picture(heart(rng, SIZE), rng) for _ in range(5)]
    image = tile.astype(np.float32) / 127.5 - 1
    return grid_picture([("a", [others[0], image, others[1]]), ("b", others[2:])])


def outlined(tile: NDArray[np.uint8]) -> Image.Image:
    large = Image.fromarray(tile).resize((4 * SIZE, 4 * SIZE)).convert("RGB")
    ImageDraw.Draw(large).ellipse((40, 40, 90, 90), outline=(213, 94, 0), width=3)
    return large


PRESENTED = {
    "as it is": lambda tile: Image.fromarray(tile),
    "enlarged": lambda tile: Image.fromarray(tile).resize((3 * SIZE, 3 * SIZE), Image.Resampling.BICUBIC),
    "with hard edges": lambda tile: Image.fromarray(tile).resize((100, 100), Image.Resampling.NEAREST),
    "turned": lambda tile: Image.fromarray(np.rot90(tile)),
    "mirrored and inverted": lambda tile: Image.fromarray(255 - tile[:, ::-1]),
    "darker": lambda tile: Image.fromarray((tile * 0.4 + 20).astype(np.uint8)),
    "in a sheet": sheet,
    "under outlines": outlined,
}


@pytest.mark.parametrize("how", PRESENTED)
def test_a_real_slice_is_found(project: Path, real: tuple[NDArray, NDArray], how: str) -> None:
    assert real_pictures_in(f'<img src="{uri(PRESENTED[how](real[0]))}">', project)


@pytest.mark.parametrize("how", PRESENTED)
def test_another_slice_is_not(project: Path, how: str) -> None:
    rng = np.random.default_rng(11)
    other = grey(picture(heart(rng, SIZE), rng))
    assert real_pictures_in(f'<img src="{uri(PRESENTED[how](other))}">', project) == []


def test_a_real_mask_is_found_in_any_colours_and_as_outlines(project: Path, real: tuple[NDArray, NDArray]) -> None:
    mask = real[1]
    coloured = Image.fromarray(COLOURS[mask]).resize((4 * SIZE, 4 * SIZE), Image.Resampling.NEAREST)
    paths = "".join(f'<path class="outline {name}" d="{path}"/>' for name, path in outlines(mask))
    svg = f'<svg viewBox="0 0 {SIZE} {SIZE}">{paths}</svg>'
    for page in (f"<img src='{uri(coloured)}'>", svg, f'<img src="data:image/svg+xml,{quote(svg)}">'):
        assert any("Dice" in found for found in real_pictures_in(page, project)), page[:40]
    other = heart(np.random.default_rng(12), SIZE)
    assert real_pictures_in(f"<img src='{uri(Image.fromarray(COLOURS[other]))}'>", project) == []


def test_places_where_a_picture_can_hide(project: Path, real: tuple[NDArray, NDArray], tmp_path: Path) -> None:
    png = uri(Image.fromarray(real[0]))
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{png}"/></svg>'
    in_svg = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    pages = {
        "css": f"<style>a {{ background: url({png}) }}</style>",
        "svg": f'<img src="{in_svg}">',
        "json": json.dumps({"a": png}),
    }
    for name, page in pages.items():
        assert real_pictures_in(page, project), name
    np.save(tmp_path / "a.npy", np.stack([real[0], real[0]]))
    np.savez_compressed(tmp_path / "b.npz", x=real[0].astype(np.float32))
    nibabel.save(nibabel.Nifti1Image(real[0].astype(np.float32).T[..., None], np.eye(4)), tmp_path / "c.nii.gz")
    Image.fromarray(real[0]).save(tmp_path / "d.webp", lossless=True)
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("mnms-train-00.html", pages["css"])
    for path in sorted(tmp_path.iterdir()):
        assert real_pictures_in(path, project), path.name
    assert identifiers_in(tmp_path / "e.zip", project)  # the name of the file in it


def test_identifiers_are_found_however_they_are_written(project: Path) -> None:
    texts = [
        "patient mnms-train-03 is one",
        "<p title='MNMS-TRAIN-03'>",
        "mnms&#45;train-03",
        "mnms%2Dtrain-03",
        "patient101 is a copy",
        f"see {project}/data",
        "read from data/phantom/acdc",
        "file:///scans/x",
        "kept in /home/somebody/scans",
        f"data:image/svg+xml,{quote('<svg><title>mnms-train-03</title></svg>')}",
    ]
    for text in texts:
        assert identifiers_in(text, project), text
    for text in ("data/cohort/train and 0.303", "patients: 12 of mnms-train", "and/or", "synthetic-00003", "</p>/data"):
        assert identifiers_in(text, project) == [], text
