"""MLflow's own pages in a real browser: what somebody sees who compares three generators and opens the registry."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mlops.connection import Tracking, connect
from mlops.promotion import promote
from mlops.records import PARTS, figures_of_network, headlines, read_figures, read_network
from mlops.sync import sync
from tests.mlops.mlflow_server import server
from tests.mlops.records import write_figures, write_network
from tests.mlops.registered import build_registered, good_figures

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
OPTIONS += ["--disable-component-update", "--disable-sync"]
GENERATORS = ("ddpm", "ldm", "fm")
SECONDS = 60_000.0  # for a page's script, on a busy machine

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three generators with all their figures, of which the first is registered and approved."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "SYNCMRI_PARENT_RUN_ID"):
            patch.delenv(name, raising=False)
        root = build_registered(tmp_path_factory.mktemp("project"))
        for name in GENERATORS[1:]:
            write_network(root, name, hashlib.sha256(name.encode()).hexdigest())
            for axis, figures in good_figures().items():
                write_figures(root, f"{axis}-{name}", name, figures)
        path = root / "reports/figures/utility.json"
        utility = json.loads(path.read_text())
        utility["figures"] |= {f"{name}-full": utility["figures"]["ddpm-full"] for name in GENERATORS[1:]}
        path.write_text(json.dumps(utility))
        sync(root)
        promote(root, "ddpm", user="someone")
        yield root


@pytest.fixture(scope="module")
def site(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("server"), database=project / "mlflow.db") as uri:
        yield uri


@pytest.fixture(scope="module")
def page(site: str) -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=OPTIONS)
        page = browser.new_page(viewport={"width": 1500, "height": 9000})  # lists show what fits
        page.set_default_timeout(SECONDS)
        yield page
        browser.close()


def run_ids(tracking: Tracking) -> dict[str, str]:
    found = {name: tracking.find(read_network(tracking.root, name)["run_key"]) for name in GENERATORS}
    return {name: run.info.run_id for name, run in found.items() if run}


SCROLL = """[...document.querySelectorAll('*')].filter(e => e.scrollTop + e.clientHeight < e.scrollHeight - 1
  && /auto|scroll/.test(getComputedStyle(e).overflowY)).map(e => { e.scrollTop += 150; return e.scrollTop })"""


def scrolled(page: Any) -> set[str]:
    """All words of the page while its lists are scrolled to their ends: they draw no more than fits."""
    words: set[str] = set()
    while True:
        lines = page.inner_text("body").splitlines()
        words |= {part.strip() for line in lines for part in line.split("\t")}
        if not any(page.evaluate(SCROLL)):
            return words
        page.wait_for_timeout(150)


def test_the_compare_page_shows_all_headlines_of_three_generators(project: Path, site: str, page: Any) -> None:
    tracking = connect(project)
    ids = list(run_ids(tracking).values())
    runs, experiments = quote(json.dumps(ids)), quote(json.dumps([tracking.experiment]))
    page.goto(f"{site}/#/compare-runs?runs={runs}&experiments={experiments}")
    page.get_by_text("fidelity/kid", exact=True).first.wait_for()
    words = scrolled(page)
    assert set(GENERATORS) <= words
    figures = headlines(project, "ddpm", figures_of_network(project, read_figures(project), "ddpm"))
    parts = {f"{name}{ending}" for name, one in figures.items() for ending, part in PARTS.items() if one.get(part) is not None}
    assert parts <= words
    assert {"fidelity/kid", "utility/full_dice", "privacy/mia_auc", "cost/train_seconds"} <= words
    assert {"0.55", "0.4", "0.7", "24"} <= words  # mia_auc with its interval and N


def test_the_registry_shows_versions_aliases_and_why(project: Path, site: str, page: Any) -> None:
    page.goto(f"{site}/#/models")
    page.get_by_text("syncmri-ddpm", exact=True).first.wait_for()
    page.goto(f"{site}/#/models/syncmri-ddpm")
    page.get_by_text("approved", exact=False).first.wait_for()
    shown = page.inner_text("body")
    assert "candidate" in shown
    assert "Version 1" in shown


def test_a_run_shows_its_datasets_and_its_table(project: Path, site: str, page: Any) -> None:
    tracking = connect(project)
    run = f"{site}/#/experiments/{tracking.experiment}/runs/{run_ids(tracking)['ddpm']}"
    page.goto(run)
    page.get_by_text("data/cohort/train", exact=False).first.wait_for()
    page.goto(f"{run}/artifacts/tables/figures.json")
    page.get_by_text("fidelity/kid", exact=False).first.wait_for()
