"""The tables of docs/scaling.md and docs/performance.md: each stands between two marks, and a benchmark writes it."""

from pathlib import Path

SCALING = Path("docs/scaling.md")
PERFORMANCE = Path("docs/performance.md")
_END = "<!-- end -->"


def write(page: Path, maker: str, table: str) -> None:
    """Puts a table in the place of the one that ``maker``, a file of this folder, wrote before; from the repository's root."""
    before, mark, rest = page.read_text().partition(_mark(maker))
    page.write_text(f"{before}{mark}\n\n{table.strip()}\n\n{_END}{rest.partition(_END)[2]}")


def shown(page: Path, maker: str, root: Path) -> str:
    """The table of ``maker`` as the page has it."""
    return (root / page).read_text().partition(_mark(maker))[2].partition(_END)[0].strip()


def _mark(maker: str) -> str:
    return f"<!-- made by benchmarks/{maker} -->"
