"""docs/extending.md, "A fourth generator", on a real ``dvc repro``: its file, its line and its block, and no other edit."""

import json
import re
from pathlib import Path

import pytest

from tests.pipelines.project import REPOSITORY, checkout, configure, git, ran, run

pytestmark = pytest.mark.slow


def _block(language: str) -> str:
    section = (REPOSITORY / "docs/extending.md").read_text().partition("## A fourth generator")[2]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A project with the page's generator in it, run from phantom to report with that generator alone."""
    root = checkout(tmp_path_factory.mktemp("toy"))
    (root / "models/blend.py").write_text(_block("python"))
    registry, reference = root / "models/registry.py", root / "profiles/paper.yaml"
    opening = "GENERATORS: dict[str, str] = {\n"
    assert opening in registry.read_text()
    registry.write_text(registry.read_text().replace(opening, opening + _block("text")))
    reference.write_text(reference.read_text() + "\n" + _block("yaml"))
    git(root, "add", "-A")
    git(root, "commit", "-qm", "a fourth generator")
    configure(
        root,
        generators__names="[blend]",
        utility__setups="[acdc-real, mnms-real, blend-full]",
        blend__network__width="8",
        blend__network__layers="3",
        blend__train__max_steps="20",
        blend__train__validations="2",
        blend__validation__steps="2",
        blend__sampling__steps="3",
    )
    (root / "stages.txt").write_text("\n".join(ran(run(root, "dvc", "repro", "report"))))
    return root


def test_every_stage_ran_for_it_and_for_no_other_generator(finished):
    stages = (finished / "stages.txt").read_text().split()
    for stage in ("train@blend", "sample@blend-full", "sample@blend-test", "fidelity@blend", "privacy@blend", "report"):
        assert stage in stages
    assert "segment@blend-full" in stages
    assert not [stage for stage in stages if "ddpm" in stage]


def test_its_figures_are_in_the_metrics(finished):
    metrics = json.loads((finished / "reports/metrics.json").read_text())
    for name in ("ssim", "ms_ssim", "psnr", "mask_adherence"):
        assert metrics["fidelity"]["blend"][name]["value"] is not None
    for dataset in ("acdc", "mnms"):
        assert metrics["utility"]["blend-full"][dataset]["clinical"]["dice"]["value"] is not None
    for name in ("nn_l2", "nndr", "closer_to_train"):
        assert metrics["privacy"]["blend"][name]["value"] is not None


def test_its_rows_are_in_the_report(finished):
    page = (finished / "reports/report.html").read_text()
    assert re.search(r"<t[hd][^>]*>\s*blend\s*</t[hd]>", page)
    assert "blend · Full-Syn" in page
    assert "DDPM · Full-Syn" not in page


def test_it_is_listed_with_its_cost(finished):
    assert re.search(r"^\s*blend +Blend +0\.00", run(finished, "app.cli", "models"), re.MULTILINE)
