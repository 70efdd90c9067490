"""What the pages of `docs/` refer to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_ours_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"`((?:benchmarks|deploy|profiles|tests)/[\w./-]+)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_fault_has_its_tests() -> None:
    table = (ROOT / "docs/cluster.md").read_text().partition("## What may go wrong")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert rows
    for row in rows:
        said = re.findall(r"`(tests/[\w/]+\.py)`: ((?:`\w+`(?:, )?)+)", row)
        assert said, f"no test is named: {row}"
        for file, names in said:
            code = (ROOT / file).read_text()
            for name in re.findall(r"\w+", names):
                assert f"def {name}(" in code, f"{file} has no {name}"
