r"""The report's tables in LaTeX, for a manuscript: needs ``\usepackage{booktabs,graphicx}`` and a LaTeX that reads UTF-8."""

import re

from pipelines.reporting.cells import Cell, Column, Table
from pipelines.reporting.paper_values import CAVEAT

PREAMBLE = "% Written by the stage `report`. Needs \\usepackage{booktabs,graphicx}.\n"
_SUPERSCRIPTS = dict(zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True))
_SYMBOLS = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{sign: f"{{{sign}}}" for sign in "[]*"},  # after a line break these would be its arguments
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\to$",
    "←": r"$\gets$",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "√": r"$\surd$",
    "π": r"$\pi$",
    "µ": r"$\mu$",
    "σ": r"$\sigma$",
    "β": r"$\beta$",
    "°": r"$^\circ$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "\u00a0": "~",
    "\u202f": r"\,",
}
_PROSE = "p{0.3\\textwidth}"  # columns of text wrap


def escape(text: str) -> str:
    """Text as LaTeX shows it literally; letters of other scripts are left to the document's own set-up."""
    parts = re.split(f"([{''.join(_SUPERSCRIPTS)}]+)", text)  # text and runs of superscripts in turn
    shown = ["".join(_SYMBOLS.get(letter, letter) for letter in part) for part in parts[::2]]
    raised = [f"$^{{{''.join(_SUPERSCRIPTS[letter] for letter in part)}}}$" for part in parts[1::2]]
    return "".join(piece for pair in zip(shown, [*raised, ""], strict=True) for piece in pair)


def latex_table(table: Table, label: str) -> str:
    """A ``table*`` float: caption, booktabs rules, group headings, intervals in small type, reasons and notes below."""
    width = len(table.columns)
    lines = [
        r"\begin{table*}[tbp]",
        r"\centering",
        f"\\caption{{{escape(table.caption)}}}",
        f"\\label{{{label}}}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        f"\\begin{{tabular}}{{{''.join(_alignment(column, place) for place, column in enumerate(table.columns))}}}",
        r"\toprule",
        *_groups(table.groups),
        " & ".join(_heading(column) for column in table.columns) + r" \\",
        r"\midrule",
    ]
    for place, row in enumerate(table.rows):
        if len(row) == 1:
            lines += [r"\addlinespace"] * (place > 0)
            lines.append(f"\\multicolumn{{{width}}}{{l}}{{\\textit{{{escape(row[0].text)}}}}} \\\\")
        else:
            lines.append(" & ".join(_cell(table, cell) for cell in row) + r" \\[3pt]")
    lines += [r"\bottomrule", r"\end{tabular}}"]
    notes = [f"\\textsuperscript{{{letter}}}{escape(_sentence(reason))}" for reason, letter in table.reasons.items()]
    notes += [escape(note) for note in table.notes]
    if any("paper" in cell.kind.split() for row in table.rows for cell in row):
        notes.append(escape(CAVEAT))
    if notes:
        lines += [r"\par\smallskip", f"\\parbox{{\\textwidth}}{{\\footnotesize {' '.join(notes)}}}"]
    return "\n".join([*lines, r"\end{table*}", ""])


def _alignment(column: Column, place: int) -> str:
    return "l" if place == 0 else _PROSE if "prose" in column.kind.split() else "r"


def _groups(groups: list[tuple[str, int]]) -> list[str]:
    """Group headings with a rule under each that has a name."""
    if not groups:
        return []
    heads, rules, start = [], [], 1
    for name, span in groups:
        heads.append(f"\\multicolumn{{{span}}}{{c}}{{{escape(name)}}}")
        if name:
            rules.append(f"\\cmidrule(lr){{{start}-{start + span - 1}}}")
        start += span
    return [" & ".join(heads) + r" \\", " ".join(rules)]


def _heading(column: Column) -> str:
    return _stacked(escape(column.name), column.hint, "r")


def _stacked(shown: str, small: str, side: str) -> str:
    """Small type under what is shown, as on the page: beside it, it would make the tables too wide to read."""
    return f"\\shortstack[{side}]{{{shown}\\\\{{\\scriptsize {escape(small)}}}}}" if small else shown


def _cell(table: Table, cell: Cell) -> str:
    shown = escape(cell.text)
    if "best" in cell.kind.split():
        shown = f"\\textbf{{{shown}}}"
    mark = f"\\textsuperscript{{{table.reasons[cell.reason]}}}" if cell.reason else ""
    return _stacked(shown + mark, cell.interval, "l" if "label" in cell.kind.split() else "r")


def _sentence(reason: str) -> str:
    return reason if reason.endswith(".") else f"{reason}."
