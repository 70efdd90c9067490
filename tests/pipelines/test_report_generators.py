"""The report with several generators: side by side in tables, grids and curves, whatever some of them lack."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmr.errors import DataError
from cmr.store import SliceStore
from pipelines.report import write_report
from pipelines.reporting import data_tables, grids, privacy_tables, summary, tables, utility_tables
from pipelines.reporting.cells import Table
from pipelines.reporting.curves import time_axis
from pipelines.reporting.metrics import gather, setups
from pipelines.reporting.names import listed, network_name
from pipelines.reporting.project import Project
from tests.pipelines.report_project import GENERATORS, SIZE, build_project

NAMES = ["DDPM", "LDM", "Flow matching"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(build_project(tmp_path_factory.mktemp("project"), generators=GENERATORS))


@pytest.fixture(scope="module")
def metrics(project: Project) -> dict[str, Any]:
    return gather(project)


def row(table: Table, label: str) -> list[str]:
    """The texts of the row of that label, without it."""
    return next([cell.text for cell in cells[1:]] for cells in table.rows if cells[0].text == label)


def test_fidelity_stands_beside_the_papers_columns(metrics: dict[str, Any]) -> None:
    table = tables.fidelity_table(metrics)
    assert [column.name for column in table.columns] == ["Metric", *NAMES, "Floor", "N", *NAMES]
    assert row(table, "SSIM ↑") == ["0.310"] * 3 + ["0.279", "24", "0.22", "0.18", "0.22"]
    assert row(table, "KID ↓")[-3:] == ["0.04", "0.08", "0.098"]


def test_mask_adherence_is_shown_with_its_yardsticks(metrics: dict[str, Any]) -> None:
    table = tables.fidelity_table(metrics)
    labels = [cells[0].text for cells in table.rows]
    start = labels.index("Mask adherence (Dice) ↑")
    shown = [table.rows[start + place][1].text for place in range(5)]
    assert shown == ["0.640", "0.840", "0.310", "0.760", "0.330"]
    assert labels[start + 1 : start + 4] == ["… of the real slices", "… against others' masks", "… synthetic / real ↑"]


def test_privacy_of_images_and_of_masks_have_a_table_each(metrics: dict[str, Any]) -> None:
    images, masks = privacy_tables.images_table(metrics), privacy_tables.masks_table(metrics)
    assert [column.name for column in images.columns] == ["Figure", *NAMES, "Floor", "Ideal", *NAMES]
    assert row(images, "Nearest neighbour, L2")[-3:] == ["12.0", "10.5", "19.0"]
    assert row(images, "Membership inference, AUC ↓")[-3:] == ["0.6029", "0.580", "0.6038"]
    assert row(masks, "Nearest neighbour, 1 − Dice")[0] == "0.170"
    assert not any(cells[0].text == "Nearest neighbour, 1 − Dice" for cells in images.rows)


def test_the_papers_utility_is_shown_for_all_eleven_setups(project: Project) -> None:
    table = utility_tables.paper_utility_table(setups(project))
    assert len(table.rows) == 11
    assert row(table, "LDM · M&Ms-Syn") == ["0.88", "0.82", "2.26", "1.53", "0.89", "0.82", "4.17", "1.40"]


def test_the_summary_names_each_generators_best_synthetic_set(project: Project, metrics: dict[str, Any]) -> None:
    table = summary.glance_table(project, metrics)
    assert table is not None
    dice = next(cells for cells in table.rows if cells[0].text == "Dice on ACDC test")
    assert [cell.text for cell in dice[1:4]] == ["0.700", "0.550", "0.400"]  # falling setup by setup: Full-Syn comes first
    assert dice[1].interval.endswith("Full-Syn")
    assert dice[4].text == "ACDC real: 0.800"
    assert table.rows[0][4].text == "real slices: 0.840; others' masks: 0.310"
    assert "(DDPM, LDM and Flow matching)" in " ".join(summary.sentences(project, metrics))


def test_one_grid_has_a_row_a_generator_under_its_masks(project: Project) -> None:
    grid = grids.on_test_masks(project)
    assert [name for name, _ in grid.rows] == ["Mask", "Real", *NAMES]
    assert [len(slices) for _, slices in grid.rows] == [4] * 5
    assert grid.gaps == []
    # Each column is one slice of one patient: what the generator made lies in the same row of its store.
    test, made = project.store("cohort/test"), project.store("sets/fm-test")
    assert test is not None
    assert made is not None
    for mask, image in zip(grid.rows[0][1], grid.rows[4][1], strict=True):
        place = next(number for number in range(len(test)) if np.array_equal(test.masks[number], mask))
        np.testing.assert_array_equal(image, made.images[place])
    full = grids.on_generated_masks(project)
    assert [name for name, _ in full.rows] == ["Generated mask", *NAMES]
    assert full.rows[0][1][0].dtype == np.uint8


def test_slices_are_matched_by_name_and_not_by_place(tmp_path: Path) -> None:
    root = build_project(tmp_path, generators=("ddpm",), figures=False)
    store = SliceStore.open(root / "data/sets/ddpm-test")
    expected = grids.on_test_masks(Project(root)).rows
    turned = store.select(np.arange(len(store))[::-1])
    content = (turned.index, np.asarray(turned.masks), np.asarray(turned.images))
    shutil.rmtree(root / "data/sets/ddpm-test")
    SliceStore.write(root / "data/sets/ddpm-test", *content)
    for before, after in zip(expected, grids.on_test_masks(Project(root)).rows, strict=True):
        np.testing.assert_array_equal(before[1], after[1])
    strange = turned.index.assign(subject="nobody")
    shutil.rmtree(root / "data/sets/ddpm-test")
    SliceStore.write(root / "data/sets/ddpm-test", strange, *content[1:])
    with pytest.raises(DataError, match="no slice in common"):
        grids.on_test_masks(Project(root))


def test_denoising_runs_from_noise_to_image(project: Project) -> None:
    strips, gaps = grids.on_the_way(project)
    assert [strip.title for strip in strips] == NAMES
    assert gaps == []
    captions = [tile.caption for tile in strips[0].tiles]
    assert captions == ["mask", "t = 1000", "t = 800", "t = 600", "t = 400", "t = 200", "t = 0"]
    assert {tile.size for tile in strips[0].tiles} == {SIZE}


def test_autoencoders_have_codebook_and_error(project: Project) -> None:
    table = data_tables.autoencoders_table(project)
    assert [[cell.text for cell in cells] for cells in table.rows] == [["LDM", "40.0", "21.5", "0.0810", "24.90"]]
    assert [network.name for network in project.networks][:3] == ["masks", "autoencoder/ldm", "ddpm"]


def test_time_of_a_latent_generator_counts_its_autoencoder(project: Project) -> None:
    ddpm, ldm = (time_axis(project, network) for network in project.networks if network.name in ("ddpm", "ldm"))
    assert ddpm.tolist() == pytest.approx([step / 9 for step in range(10, 201, 10)])
    assert (ldm - ddpm).tolist() == pytest.approx([61.5] * 20)


def test_what_a_generator_lacks_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    """One generator of three has not been trained, sampled or measured; a toy the paper does not know is the second."""
    root = build_project(tmp_path, generators=("ddpm", "toy", "ldm"))
    for path in ("runs/ldm", "runs/autoencoder", "data/sets/ldm-test", "data/sets/ldm-full"):
        shutil.rmtree(root / path)
    for path in ("data/denoising/ldm-test.npz", "reports/figures/fidelity-ldm.json", "reports/figures/privacy-ldm.json"):
        (root / path).unlink()
    html = write_report(root).read_text()
    for sentence in (
        "LDM: the stage sample@ldm-test has not run.",
        "LDM: the stage sample@ldm-full has not run.",
        "no figures: the stage fidelity@ldm has not run",
        "no figures: the stage privacy@ldm has not run",
        "no figures: the stage train_autoencoder@ldm has not run",
        "No reconstructions of LDM yet.",
    ):
        assert sentence in html
    metrics = json.loads((root / "reports/metrics.json").read_text())
    assert metrics["fidelity"]["toy"]["mask_adherence"]["value"] == 0.64
    assert [name for name, _ in grids.on_test_masks(Project(root)).rows] == ["Mask", "Real", "DDPM", "toy"]
    fidelity = tables.fidelity_table(metrics)
    assert [column.name for column in fidelity.columns] == ["Metric", "DDPM", "toy", "LDM", "Floor", "N", "DDPM", "LDM"]
    assert all(len(cells) == len(fidelity.columns) for cells in fidelity.rows)
    assert "toy · Full-Syn" in html


def test_generators_that_the_paper_does_not_know_have_no_columns_of_it(tmp_path: Path) -> None:
    project = Project(build_project(tmp_path, generators=("toy",)))
    metrics = gather(project)
    for table in (tables.fidelity_table(metrics), privacy_tables.images_table(metrics)):
        assert sum(span for _, span in table.groups) == len(table.columns)
        assert not any(name.startswith("Paper") for name, _ in table.groups)


def test_the_filter_of_masks_is_told_where_it_was_on(metrics: dict[str, Any]) -> None:
    table = tables.validity_table(metrics)
    assert row(table, "valid at the first draw") == ["–", "50.0"]
    assert table.notes[0].startswith("The filter was on: 12 of 24 masks were drawn again")
    off = {name: value for name, value in metrics["masks"].items() if name != "valid_share_first_draw"}
    table = tables.validity_table({"masks": off})
    assert table.notes == []
    assert table.rows[-1][0].text == "valid: all of them"


def test_a_broken_strip_is_named(tmp_path: Path) -> None:
    root = build_project(tmp_path, figures=False)
    (root / "data/denoising/ddpm-test.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(DataError, match=r"ddpm-test\.npz: not readable"):
        grids.on_the_way(Project(root))


def test_names() -> None:
    assert [network_name(name) for name in ("fm", "toy", "autoencoder/ldm", "segmenter/fm-full")] == [
        *("Flow matching", "toy", "Autoencoder · LDM", "Segmenter · Flow matching · Full-Syn")
    ]
    assert [listed(names) for names in (["A"], ["A", "B"], ["A", "B", "C"])] == ["A", "A and B", "A, B and C"]
