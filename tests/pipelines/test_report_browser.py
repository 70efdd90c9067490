"""The report in a real browser: pictures have a size, nothing is fetched, nothing is complained about, nothing sticks out."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.report import write_report
from tests.pipelines.report_project import GENERATORS, build_project

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
OPTIONS += ["--disable-component-update", "--disable-sync"]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(build_project(tmp_path_factory.mktemp("project"), generators=GENERATORS))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=OPTIONS)
        yield browser
        browser.close()


def test_page_is_whole_quiet_and_offline(report: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1360, "height": 1000})
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report.as_uri())
    sizes = page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth * i.naturalHeight * i.clientWidth)")
    drawings = page.evaluate("[...document.querySelectorAll('svg.tile')].map(s => s.getBoundingClientRect().width)")
    assert len(sizes) > 40
    assert len(drawings) > 10
    assert all(sizes)
    assert all(width > 20 for width in drawings)
    # The table that sets all generators beside the paper's fits: nothing of it is hidden behind a scroll bar.
    assert page.evaluate("[...document.querySelectorAll('.table')].filter(t => t.scrollWidth > t.clientWidth).length") == 0
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    assert complaints == []
    assert page.evaluate("[...document.querySelectorAll('td')].filter(cell => !cell.innerText.trim()).length") == 0


@pytest.mark.parametrize("width", [1360, 800, 390])
def test_page_fits_the_window(report: Path, browser: Any, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_contents_lead_to_the_sections(report: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1360, "height": 900})
    page.goto(report.as_uri())
    targets = page.evaluate("[...document.querySelectorAll('nav a')].map(a => document.querySelector(a.hash)?.tagName)")
    assert targets == ["SECTION"] * 9
