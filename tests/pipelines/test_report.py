"""The report stage on tiny finished, half-finished and broken projects."""

import base64
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cmr.errors import DataError
from cmr.labels import LV, MYO, RV
from pipelines.report import write_report
from pipelines.reporting.cells import Cell, Column, Table, figure, scientific
from pipelines.reporting.charts import gaussian_density
from pipelines.reporting.names import Metric, setup_name
from pipelines.reporting.pictures import LABELS, outlines
from tests.pipelines.report_project import GENERATORS, RECONSTRUCTIONS, SIZE, SPLITS, build_project, setups

SETUPS = setups(GENERATORS)
FEATURES = ("pixel_share", "area", "roundness", "eccentricity", "solidity")
FIDELITY = ("ssim", "ms_ssim", "psnr", "lpips", "fid", "kid", "precision", "recall", "mask_adherence")
NEIGHBOURS = ("nn_l2", "nndr", "closer_to_train", "copies")
MEMBERSHIP = ("mia_auc", "mia_auc_blind", "mia_auc_control", "mia_tpr_at_1_fpr", "mia_tpr_at_10_fpr")


class Page(HTMLParser):
    """What the tests look at: addresses, texts of table cells, pictures and unclosed elements."""

    VOID = frozenset({"meta", "link", "img", "image", "path", "br"})

    def __init__(self, html: str):
        super().__init__()
        self.addresses: list[str] = []
        self.cells: list[str] = []
        self.pictures: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.addresses += [values[name] for name in ("src", "href") if name in values]
        if tag in ("img", "image"):
            self.pictures.append(values.get("src") or values["href"])
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data.strip()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = build_project(tmp_path_factory.mktemp("project"), generators=GENERATORS)
    write_report(root)
    return root


@pytest.fixture(scope="module")
def metrics(project: Path) -> dict[str, Any]:
    return json.loads((project / "reports/metrics.json").read_text())


@pytest.fixture(scope="module")
def html(project: Path) -> str:
    return (project / "reports/report.html").read_text()


def is_figure(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    return bool(entry["reason"]) if entry["value"] is None else {"value", "ci_low", "ci_high", "n"} <= set(entry)


def test_every_name_that_others_rely_on_has_a_figure_or_a_reason(metrics: dict[str, Any]) -> None:
    names = [metrics["masks"][s][f]["real"] for s in ("LV", "MYO", "RV") for f in FEATURES]
    names += [metrics["masks"][s][f][part] for s in ("LV", "MYO", "RV") for f in FEATURES for part in ("generated", "ks_d")]
    names += [metrics["masks"]["valid_share"], *(metrics["fidelity"][g][name] for g in GENERATORS for name in FIDELITY)]
    for setup in SETUPS:
        for test in ("mnms", "acdc"):
            names += [
                metrics["utility"][setup][test][c][m] for c in ("clinical", "paper") for m in ("dice", "iou", "hd95", "asd")
            ]
    for network, other in (*((name, "nn_lpips") for name in GENERATORS), ("masks", "nn_dice")):
        names += [metrics["privacy"][network][name] for name in (*NEIGHBOURS, *MEMBERSHIP, other)]
    assert all(map(is_figure, names))
    assert metrics["masks"]["LV"]["area"]["p_value"]["value"] == 3.1e-7


def test_computed_figures_arrive_unchanged_and_others_say_why_not(metrics: dict[str, Any]) -> None:
    assert metrics["fidelity"]["ddpm"]["ssim"]["value"] == 0.31
    assert metrics["fidelity"]["ddpm"]["floor"]["ssim"]["value"] == pytest.approx(0.279)
    assert metrics["utility"]["acdc-real"]["acdc"]["clinical"]["dice"]["value"] == 0.8
    assert metrics["fidelity"]["ddpm"]["fid"]["value"] is None
    assert metrics["fidelity"]["ddpm"]["fid"]["reason"] == "the stage fidelity@ddpm did not give it"
    assert metrics["fidelity"]["ddpm"]["full"]["fid"] == metrics["fidelity"]["ddpm"]["fid"]


def test_counts_are_patients_and_labelled_slices(metrics: dict[str, Any]) -> None:
    # 2 frames of 4 slices a patient; in the test split the first slice of each frame has no labels.
    for split, patients in SPLITS.items():
        assert metrics["data"]["mnms"][split] == {"patients": patients, "slices": patients * (6 if split == "test" else 8)}
    assert metrics["data"]["acdc"]["holdout"] == {"patients": 0, "slices": 0}
    assert metrics["data"]["duplicates"] == [["patient001", "patient101"]]


def test_page_is_self_contained_and_closed(html: str) -> None:
    page = Page(html)
    assert page.open == []
    assert page.addresses
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert "<script" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!['\"]?data:)", html)


def test_every_cell_is_filled_and_every_dash_explained(html: str) -> None:
    cells = Page(html).cells[:]
    # The blank corners over the first columns are group headings without a name.
    blank = len(re.findall(r'<th colspan="1"></th>', html))
    assert len(cells) > 500
    assert sum(not cell for cell in cells) == blank
    assert all(f"<sup>{letter}</sup>" in html for cell in cells for letter in re.findall(r"^–([a-z])$", cell))


def test_pictures_hold_pixels(html: str) -> None:
    pictures = Page(html).pictures
    rasters = [one for one in pictures if one.startswith("data:image/png")]
    charts = [one for one in pictures if one.startswith("data:image/svg+xml")]
    assert len(rasters) > 100
    assert len(charts) == 4 + len(SETUPS) + 5  # densities, Dice, adherence, trade-off; a curve for every network
    drawings = [base64.b64decode(chart.partition(",")[2]) for chart in charts]
    assert all(drawing.startswith(b"<svg") and b"<path" in drawing for drawing in drawings)
    assert {read_png(one).size for one in rasters} == {(SIZE, SIZE), RECONSTRUCTIONS}
    assert all(np.ptp(np.asarray(read_png(one).convert("L"))) > 50 for one in rasters)


def read_png(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_phantoms_are_declared_and_scans_are_not(html: str, tmp_path: Path) -> None:
    assert "mean nothing clinically" in html
    root = build_project(tmp_path)
    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("data/phantom/", "/scans/"))
    assert "mean nothing clinically" not in write_report(root).read_text()


def test_plot_files(project: Path) -> None:
    loss = pd.read_csv(project / "reports/plots/loss.csv")
    assert list(loss.columns) == ["network", "step", "train_loss", "validation"]
    assert set(loss["network"]) == {"masks", "autoencoder/ldm", *GENERATORS, *(f"segmenter/{setup}" for setup in SETUPS)}
    utility = pd.read_csv(project / "reports/plots/utility.csv")
    assert len(utility) == len(SETUPS) * 2
    sheet = Image.open(project / "reports/plots/grid.png")
    # Four test patients; mask, real and a row a generator; four screen pixels a pixel; names on the left.
    assert sheet.width - LABELS == pytest.approx(4 * SIZE * 4, rel=0.1)
    assert sheet.height == pytest.approx((2 + len(GENERATORS)) * SIZE * 4, rel=0.1)
    assert np.asarray(sheet.convert("L"))[:, :LABELS].min() < 50


def test_same_inputs_give_the_same_page(project: Path, html: str) -> None:
    assert write_report(project).read_text() == html


def test_a_dataset_left_out_is_named_everywhere(tmp_path: Path) -> None:
    root = build_project(tmp_path, datasets=("mnms",))
    page = Page(write_report(root).read_text())
    metrics = json.loads((root / "reports/metrics.json").read_text())
    counts = metrics["data"]["acdc"]["train"]["patients"]
    assert counts["value"] is None
    assert counts["reason"].startswith("no data: acdc was left out")
    assert metrics["utility"]["mnms-real"]["acdc"]["clinical"]["dice"]["reason"].startswith("no data: acdc")
    assert metrics["utility"]["mnms-real"]["mnms"]["clinical"]["dice"]["value"] == 0.75
    assert any(cell.startswith("–") for cell in page.cells)


def test_a_project_without_figures_still_has_a_page(tmp_path: Path) -> None:
    root = build_project(tmp_path, figures=False)
    html = write_report(root).read_text()
    metrics = json.loads((root / "reports/metrics.json").read_text())
    assert metrics["fidelity"]["ddpm"]["ssim"] == {"value": None, "reason": "no figures: the stage fidelity@ddpm has not run"}
    assert "No network has been trained yet" in html
    assert "No generator has been validated yet" in html
    assert "No figures yet" in html
    assert Page(html).open == []


def test_a_metric_that_the_report_does_not_know_is_shown(tmp_path: Path) -> None:
    root = build_project(tmp_path)
    path = root / "reports/figures/fidelity-ddpm.json"
    content = json.loads(path.read_text())
    content["figures"]["sharpness"] = {"value": 0.6543, "ci_low": 0.6, "ci_high": 0.7, "n": 24}
    path.write_text(json.dumps(content))
    assert {"sharpness", "0.6540.600 – 0.700"} <= set(Page(write_report(root).read_text()).cells)


@pytest.mark.parametrize("broken", ["reports/figures/utility.json", "runs/ddpm/run.json"])
def test_a_broken_file_is_named_and_nothing_is_written(tmp_path: Path, broken: str) -> None:
    root = build_project(tmp_path)
    (root / broken).write_text('{"figures": ')
    with pytest.raises(DataError, match=broken.replace(".", r"\.")):
        write_report(root)
    assert not (root / "reports/report.html").exists()
    assert not (root / "reports/metrics.json").exists()


def test_pairs_of_another_version_are_refused(tmp_path: Path) -> None:
    root = build_project(tmp_path)
    path = root / "reports/figures/privacy-ddpm.json"
    path.write_text(path.read_text().replace('"synthetic": 5', '"synthetic": 5000'))
    with pytest.raises(DataError, match="row 5000 of data/sets/ddpm-full"):
        write_report(root)


def test_text_of_the_data_cannot_break_the_page(tmp_path: Path) -> None:
    root = build_project(tmp_path)
    path = root / "reports/figures/ingest-acdc.json"
    path.write_text(path.read_text().replace('"NOR"', '"<img src=http://x>"'))
    page = Page(write_report(root).read_text())
    assert not any("http" in address for address in page.addresses)


def test_the_stage_is_light() -> None:
    heavy = "import pipelines.report, sys; print([name for name in ('torch', 'mlflow', 'monai') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_figure_cells() -> None:
    metric = Metric("share", digits=1, scale=100)
    shown = figure({"value": 0.5, "ci_low": 0.25, "ci_high": 0.75, "n": 12}, metric)
    assert (shown.text, shown.interval, shown.title) == ("50.0", "25.0 – 75.0", "N = 12")
    assert figure({"value": 1.0, "ci_low": None, "ci_high": None, "n": 3}, metric).interval == ""
    absent = figure({"value": None, "reason": "no data"}, metric)
    assert (absent.text, absent.reason) == ("–", "no data")
    assert figure({"value": -0.5, "ci_low": None, "ci_high": None, "n": None}, metric).text == "\u221250.0"


def test_reasons_are_lettered_in_order_of_appearance() -> None:
    cells = [Cell("–", reason="one"), Cell("1"), Cell("–", reason="two"), Cell("–", reason="one")]
    assert Table("", [Column("")] * 4, [cells]).reasons == {"one": "a", "two": "b"}


def test_small_p_values_are_powers_of_ten() -> None:
    assert (scientific(0.0313), scientific(1.35e-40), scientific(0.0)) == ("0.031", "1.4 × 10⁻⁴⁰", "< 10⁻³⁰⁰")


def test_names_of_setups() -> None:
    assert [setup_name(name) for name in ("mnms-real", "ddpm-full", "fm-acdc")] == [
        "M&Ms real",
        "DDPM · Full-Syn",
        "Flow matching · ACDC-Syn",
    ]


def test_density_integrates_to_one_and_peaks_where_the_values_are() -> None:
    values = np.random.default_rng(0).normal(3.0, 0.5, 400)
    grid = np.linspace(0, 6, 1001)
    density = gaussian_density(values, grid)
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=0.01)
    assert grid[density.argmax()] == pytest.approx(3.0, abs=0.25)
    same = gaussian_density(np.full(5, 2.0), grid)
    assert np.trapezoid(same, grid) == pytest.approx(1, abs=0.01)


def test_outline_of_a_square_runs_along_its_edge() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 3:6] = LV
    ((structure, path),) = outlines(mask)
    points = np.array([point.split() for point in re.split("[ML]", path)[1:]], dtype=float)
    assert structure == "LV"
    # Pixel rows 2 to 4 span 2.0 to 5.0 from the top edge of the picture, columns 3 to 5 span 3.0 to 6.0.
    assert points.min(axis=0) == pytest.approx([3.0, 2.0], abs=0.05)
    assert points.max(axis=0) == pytest.approx([6.0, 5.0], abs=0.05)


def test_outlines_of_absent_structures_are_absent() -> None:
    mask = np.zeros((8, 8), np.uint8)
    assert outlines(mask) == ()
    mask[:, :4], mask[:, 4:] = MYO, RV
    assert {structure for structure, _ in outlines(mask)} == {"MYO", "RV"}
