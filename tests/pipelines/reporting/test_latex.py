"""LaTeX tables: read back by a small parser, and compiled where a LaTeX is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.reporting.cells import Cell, Column, Table, text
from pipelines.reporting.latex import escape, latex_table

PDFLATEX = shutil.which("pdflatex")
DOCUMENT = "\\documentclass[twocolumn]{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,graphicx}\\begin{document}\n"


def balanced(source: str) -> bool:
    """Whether environments and braces close in the order in which they were opened."""
    plain = re.sub(r"\\[\\{}%&$#_]", "", source)
    found: list[str] = []
    for begin, end, brace in re.findall(r"\\begin\{([\w*]+)\}|\\end\{([\w*]+)\}|([{}])", plain):
        if begin or brace == "{":
            found.append(begin or "{")
        elif not found or found.pop() != (end or "{"):
            return False
    return not found


def rows_of(source: str) -> list[int]:
    """Columns that each row of the tabular fills."""
    body = source.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith((r"\\", r"\\[3pt]"))]
    spans = [[int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", line)] for line in lines]
    return [len(re.findall(r"(?<!\\)&", line)) + 1 + sum(span) - len(span) for line, span in zip(lines, spans, strict=True)]


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ("M&Ms 50 % #1 $a_b$ {x}", r"M\&Ms 50 \% \#1 \$a\_b\$ \{x\}"),
        ("a\\b~c^d", r"a\textbackslash{}b\textasciitilde{}c\textasciicircum{}d"),
        ("3.1 × 10⁻³⁰", r"3.1 $\times$ 10$^{-30}$"),
        ("4πA/P²", r"4$\pi$A/P$^{2}$"),
        ("0.1 – 0.2 ↑ −1", r"0.1 -- 0.2 $\uparrow$ $-$1"),
        ("[0, 1]*", "{[}0, 1{]}{*}"),
        ("", ""),
    ],
)
def test_text_is_shown_literally(plain: str, expected: str) -> None:
    assert escape(plain) == expected


def a_table() -> Table:
    rows = [
        [Cell("Group_1")],
        [text("a & b", "label"), Cell("1", "0 – 2", kind="best"), Cell("–", reason="not run: 50 %")],
        [text("[c]"), Cell("2"), Cell("0.9", kind="paper")],
    ]
    columns = [Column("Name"), Column("This", "N = 3"), Column("Paper", kind="prose")]
    return Table("What & why.", columns, rows, [("", 1), ("Both", 2)], ["A note_1."])


def test_a_table_has_all_its_parts() -> None:
    source = latex_table(a_table(), "tab:x")
    assert balanced(source)
    assert rows_of(source) == [3, 3, 3, 3, 3]  # groups, headings, a subheading over all columns, two rows
    assert r"\cmidrule(lr){2-3}" in source
    assert r"a \& b & \shortstack[r]{\textbf{1}\\{\scriptsize 0 -- 2}} & --\textsuperscript{a} \\[3pt]" in source
    assert r"\textsuperscript{a}not run: 50 \%." in source
    assert "The paper's figures come from" in source  # what differs stands under every table that holds the paper's figures


def test_the_parser_sees_a_fault() -> None:
    assert not balanced(r"\begin{a}{\end{a}}")
    assert not balanced(r"\begin{a}")
    assert not balanced("}{")


@pytest.mark.slow
@pytest.mark.skipif(PDFLATEX is None, reason="no LaTeX on this machine")
def test_it_compiles(tmp_path: Path) -> None:
    compile_tables([latex_table(a_table(), "tab:x")], tmp_path)


def compile_tables(sources: list[str], folder: Path) -> None:
    (folder / "all.tex").write_text(DOCUMENT + "\n\\clearpage\n".join(sources) + "\\end{document}\n", encoding="utf-8")
    command = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
