"""The tables of docs/scaling.md: each stands between two marks, and a benchmark writes it."""

from pathlib import Path

PAGE = Path("docs/scaling.md")
_END = "<!-- end -->"


def write(maker: str, table: str) -> None:
    """Puts a table in the place of the one that ``maker``, a file of this folder, wrote before; from the repository's root."""
    before, mark, rest = PAGE.read_text().partition(_mark(maker))
    PAGE.write_text(f"{before}{mark}\n\n{table.strip()}\n\n{_END}{rest.partition(_END)[2]}")


def shown(maker: str, root: Path) -> str:
    """The table of ``maker`` as the page has it."""
    return (root / PAGE).read_text().partition(_mark(maker))[2].partition(_END)[0].strip()


def _mark(maker: str) -> str:
    return f"<!-- made by benchmarks/{maker} -->"
