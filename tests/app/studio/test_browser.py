"""The studio in a real browser: mask, image, comparison, download, report, registry; a demotion while the page is open."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import uvicorn
from PIL import Image

from app.approved import load_approved
from mlops.promotion import demote, promote
from tests.app.approved_project import SIZE
from tests.pipelines.report_project import heart
from tests.pipelines.test_report_browser import CHROMIUM, OPTIONS

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")]
PATIENCE_MS = 60_000  # a machine may be busy; and so long may a demotion take to be noticed


@pytest.fixture(scope="module")
def address(approved_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from app.studio.server import make_app

    report = approved_project / "reports/release/report.html"
    report.parent.mkdir(exist_ok=True)
    report.write_text("<!doctype html><html lang='en'><title>Report</title><h1>Nine figures</h1></html>")
    server = uvicorn.Server(uvicorn.Config(make_app(approved_project, tmp_path_factory.mktemp("scratch")), port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.1)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = server.force_exit = True
    thread.join()
    report.unlink()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(address: str, browser: Any) -> Iterator[Any]:
    """The page, opened; at the end it must have asked nobody else and complained of nothing."""
    page = browser.new_page(viewport={"width": 1400, "height": 1050})
    page.set_default_timeout(PATIENCE_MS)
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#generators input:checked")
    yield page
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []
    assert complaints == []
    page.close()


def _says(page: Any, place: str, text: str) -> None:
    page.wait_for_function("([place, text]) => document.querySelector(place).innerText.includes(text)", arg=[place, text])


def _upload(page: Any, folder: Path) -> np.ndarray:
    mask = heart(np.random.default_rng(3), SIZE)
    Image.fromarray(mask).save(folder / "mask.png")
    page.set_input_files("#upload input[type=file]", folder / "mask.png")
    _says(page, "#note", "mask.png: Anatomy: plausible")
    return mask


def _free_seed(root: Path, mask: np.ndarray) -> int:
    """A seed from which neither of the untrained networks draws what their guards hold for a copy."""
    models = [load_approved(root, name) for name in ("ddpm", "ldm")]
    for seed in range(20):
        if not any(model.near_copies(model.images(mask[None], [seed]))[0] for model in models):
            return seed
    pytest.fail("every image of 20 is a near-copy")


def test_a_mask_becomes_images_of_two_generators(page: Any, approved_project: Path, tmp_path: Path) -> None:
    mask = _upload(page, tmp_path)
    painted = page.evaluate("document.querySelector('#mask canvas').getContext('2d').getImageData(0, 0, 32, 32).data")
    colours = np.array([painted[key] for key in sorted(painted, key=int)] if isinstance(painted, dict) else list(painted))
    np.testing.assert_array_equal(colours.reshape(SIZE, SIZE, 4)[..., 0] != 17, mask != 0)

    page.check("#generators input >> nth=1")
    page.get_by_label("Seed of the image").fill(str(_free_seed(approved_project, mask)))
    page.click("#go")
    page.wait_for_selector(".card[data-model=ldm] .strip img")
    assert page.locator(".card").count() == 2
    assert page.locator(".badge.good").count() == 2
    assert page.locator(".card[data-model=ddpm] .strip img").count() >= 3
    sizes = page.evaluate("[...document.querySelectorAll('.card img')].map(i => i.complete && i.naturalWidth * i.clientWidth)")
    assert all(sizes)
    page.screenshot(path=tmp_path / "draw.png", full_page=True)

    with page.expect_download() as download:
        page.click("#download")
    with ZipFile(download.value.path()) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"syncmri-ddpm-1", "syncmri-ldm-1"}
        assert json.loads(archive.read("syncmri-ddpm-1/provenance.json"))["models"][0]["version"] == 1


def test_a_mask_can_be_painted_and_taken_back(page: Any) -> None:
    box = page.locator("#mask canvas").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 120, steps=5)
    page.mouse.up()
    _says(page, "#note", "not inside the myocardium")
    page.get_by_role("button", name="Undo").click()
    _says(page, "#note", "The mask is empty")
    page.click("#go")
    _says(page, "#results", "The mask is empty: sample, upload or paint one first.")


def test_report_and_registry_are_in_the_page_in_light_and_dark(page: Any, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Report").click()
    page.frame_locator("#report iframe").get_by_text("Nine figures").wait_for()
    page.click("#shade")
    page.get_by_role("tab", name="Registry").click()
    page.wait_for_selector("section[data-name=syncmri-ddpm] .badge.good")
    assert page.evaluate("document.body.classList.contains('dark')")
    assert "No version is registered" in page.locator("section[data-name=syncmri-fm]").inner_text()
    page.screenshot(path=tmp_path / "registry.png", full_page=True)


@pytest.mark.parametrize("width", [1400, 800, 390])
def test_page_fits_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_demotion_is_noticed_within_a_minute(page: Any, approved_project: Path, tmp_path: Path) -> None:
    mask = _upload(page, tmp_path)
    page.get_by_label("Seed of the image").fill(str(_free_seed(approved_project, mask)))
    page.click("#go")
    page.wait_for_selector(".card[data-model=ddpm] img")
    demote(approved_project, "ddpm", user="test")
    try:
        _says(page, "#results", "No longer approved: ddpm version 1")
        assert page.locator(".card").count() == 0
        assert page.locator("#generators input").count() == 1
        _says(page, "#missing", "DDPM")
        page.screenshot(path=tmp_path / "demoted.png", full_page=True)
    finally:
        promote(approved_project, "ddpm", user="test")


def test_nothing_outside_is_allowed_to_the_page(address: str) -> None:
    import urllib.request

    with urllib.request.urlopen(address) as answer:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
