"""A table as data, and as Markdown or LaTeX; the page's template turns it into HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from wmss_cli.results.findings import Gap, Interval

SIGNIFICANT = 0.05
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"

Mark = Literal["", "up", "down"]
"""Whether a value is above or below the reference by more than noise."""

_ARROWS = {"": "", "up": " \N{UPWARDS ARROW}", "down": " \N{DOWNWARDS ARROW}"}
_LATEX_ARROWS = {"": "", "up": r"$^{\uparrow}$", "down": r"$^{\downarrow}$"}
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    MINUS: "$-$",
    DASH: "--",
    "\N{GREEK SMALL LETTER ALPHA}": r"$\alpha$",
    "\N{GREEK SMALL LETTER BETA}": r"$\beta$",
    "\N{GREEK SMALL LETTER GAMMA}": r"$\gamma$",
    "\N{GREEK SMALL LETTER LAMDA}": r"$\lambda$",
    "\N{CHECK MARK}": r"$\checkmark$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
}


@dataclass(frozen=True)
class Cell:
    """One value.

    Attributes
    ----------
    text : str
        The value.
    small : str
        What is shown below it, such as an interval.
    mark : str
        See :data:`Mark`.
    link : str
        An anchor on the page; empty if there is none.
    """

    text: str
    small: str = ""
    mark: Mark = ""
    link: str = ""


@dataclass(frozen=True)
class Row:
    """A row: its name and its values. `group` is shown above its first row."""

    name: str
    cells: Sequence[Cell]
    group: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes
    ----------
    name : str
        The name of its files.
    title, note : str
        What it shows, and how to read it.
    head : str
        Title of the first column.
    columns : sequence of str
        Titles of the others.
    rows : sequence of Row
        As many cells in each row as there are columns.
    """

    name: str
    title: str
    head: str
    columns: Sequence[str]
    rows: Sequence[Row]
    note: str = ""

    def grouped(self) -> Iterator[tuple[str, Row]]:
        """Yield each row with the group that begins there, or with an empty name."""
        before = ""
        for row in self.rows:
            yield (row.group if row.group != before else "", row)
            before = row.group


NOTHING = Cell(DASH)


def percent(share: float) -> str:
    """Return a share in percent, with one decimal."""
    return f"{100 * share:.1f}"


def points(share: float) -> str:
    """Return a difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", MINUS)


def decimal(value: float) -> str:
    """Return a number with three decimals."""
    return f"{value:.3f}".replace("-", MINUS)


def p_value(p: float) -> str:
    """Return a p value as tables show it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def quantity(value: float) -> str:
    """Return a number with three significant digits, or a power of ten where it is large."""
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        exponent = int(f"{value:e}".partition("e")[2])
        return f"{value / 10**exponent:.2f}e{exponent}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}".replace("-", MINUS)


def accuracy(found: Interval | None, gap: Gap | None = None, link: str = "") -> Cell:
    """Return the cell of an accuracy: marked where it differs from the reference."""
    if found is None:
        return NOTHING
    interval = f"{percent(found.low)}{DASH}{percent(found.high)}"
    return Cell(percent(found.mean), interval, mark_of(gap), link)


def mark_of(gap: Gap | None) -> Mark:
    """Return whether a difference is more than noise, at the level of 5 % after correction."""
    if gap is None or gap.corrected >= SIGNIFICANT:
        return ""
    return "up" if gap.mean > 0 else "down"


def to_markdown(table: Table) -> str:
    """Return a table in Markdown, with its title above and its note below."""
    return "\n".join(_markdown(table)) + "\n"


def to_latex(table: Table) -> str:
    """Return a table in LaTeX, which needs ``booktabs`` and ``amssymb``."""
    return "\n".join(_latex(table)) + "\n"


def _markdown(table: Table) -> Iterator[str]:
    yield f"### {table.title}"
    yield ""
    yield f"| {' | '.join(map(_cell_text, (table.head, *table.columns)))} |"
    yield f"| --- |{' ---: |' * len(table.columns)}"
    for group, row in table.grouped():
        if group:
            yield f"| **{_cell_text(group)}** |{' |' * len(table.columns)}"
        values = (
            f"{_cell_text(cell.text)}{_ARROWS[cell.mark]}"
            + (f" ({_cell_text(cell.small)})" if cell.small else "")
            for cell in row.cells
        )
        yield f"| {_cell_text(row.name)} | {' | '.join(values)} |"
    if table.note:
        yield ""
        yield table.note


def _cell_text(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _latex(table: Table) -> Iterator[str]:
    width = len(table.columns) + 1
    yield r"% \usepackage{booktabs, amssymb}"
    yield rf"% {' '.join(table.title.split())}"
    yield rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}"
    yield r"\toprule"
    yield " & ".join(map(latex, (table.head, *table.columns))) + r" \\"
    yield r"\midrule"
    for group, row in table.grouped():
        if group:
            yield rf"\multicolumn{{{width}}}{{l}}{{\textit{{{latex(group)}}}}} \\"
        values = [
            f"{latex(cell.text)}{_LATEX_ARROWS[cell.mark]}"
            + (rf" {{\scriptsize ({latex(cell.small)})}}" if cell.small else "")
            for cell in row.cells
        ]
        yield " & ".join([latex(row.name), *values]) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    if table.note:
        yield rf"% {' '.join(table.note.split())}"


def latex(text: str) -> str:
    """Escape the characters that have a meaning in LaTeX."""
    return "".join(_LATEX.get(character, character) for character in text)
