"""Writes rows as a table: CSV, Markdown and LaTeX by pandas, and aligned text for the terminal; reads CSV."""

import csv
import itertools
import pathlib
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rethink.results import screen

if TYPE_CHECKING:
    import pandas

Rows = Sequence[Mapping[str, Any]]
# pandas escapes fewer: the rest would come out as other signs in LaTeX's default font.
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # at the start of a row, after a line's end, it would open that one's argument
    **{sign: rf"\{sign}" for sign in "&%$#_"},
}


def _frame(rows: Rows, columns: Sequence[str]) -> "pandas.DataFrame":
    """Returns rows as a frame of objects: blanks stay blank, and integers integers."""
    import pandas

    return pandas.DataFrame([[row[column] for column in columns] for row in rows], columns=columns, dtype=object)


def to_csv(rows: Rows, columns: Sequence[str]) -> str:
    """Returns rows as CSV with a header."""
    return _frame(rows, columns).to_csv(index=False, lineterminator="\n")


def to_markdown(rows: Rows, columns: Sequence[str]) -> str:
    """Returns rows as a Markdown table; every sign of a name is shown as it is."""
    frame = _frame(rows, columns).map(lambda cell: str(cell).replace("|", r"\|"))
    return frame.to_markdown(index=False, disable_numparse=True, stralign=None)  # no padding: a change is one line


def to_latex(rows: Rows, columns: Sequence[str], caption: str) -> str:
    """Returns rows as a LaTeX table, for the package booktabs; every sign of a name or a note is shown as it is."""
    frame = _frame(rows, columns).map(escape_latex).rename(columns=escape_latex)
    style = frame.style.hide(axis="index")
    layout = {"position_float": "centering", "column_format": "l" * len(columns), "hrules": True}
    return style.to_latex(caption=escape_latex(caption), **layout)


def escape_latex(text: Any) -> str:
    """Returns text without a sign that LaTeX takes for a command."""
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(str(text).split()))


def to_text(rows: Rows, columns: Sequence[str], dispensable: Collection[str] = ()) -> str:
    """Returns rows as aligned lines that fit the terminal; columns in which every cell is blank are left out.

    Names of columns may take several lines. Of the columns for which there is no room, the last ones, each row's cells
    follow below it, but for blank ones; where they are the same in all rows, once below the table. No cell is cut.

    Args:
      dispensable: columns that are left out where there is no room for all.
    """
    cells = {column: [str(row[column]) for row in rows] for column in columns}
    shown = [column for column in columns if any(cells[column])]
    widths = {column: max(map(len, [*column.split(), *cells[column]])) for column in shown}
    room, inside = screen.measure_width(), len(shown)
    while inside > 1 and sum(widths[column] + 2 for column in shown[:inside]) - 2 > room:
        inside -= 1
    if inside < len(shown) and set(dispensable).intersection(shown):
        return to_text(rows, [column for column in shown if column not in dispensable])
    inline, below = shown[:inside], shown[inside:]
    common = [column for column in below if len(rows) > 1 and len(set(cells[column])) == 1]
    # The head, then each row with what stands below it.
    heads = [textwrap.wrap(column, widths[column], break_on_hyphens=False) for column in inline]
    lines = [*itertools.zip_longest(*heads, fillvalue="")]
    blocks = [_align(line, [widths[column] for column in inline]) for line in lines]
    for number in range(len(rows)):
        blocks.append(_align([cells[column][number] for column in inline], [widths[column] for column in inline]))
        own = {column: cells[column][number] for column in below if column not in common}
        rest = [f"{column}: {cell}" for column, cell in own.items() if cell]
        blocks += [screen.wrap(f"  {'; '.join(rest)}", 4)] if rest else []
    shared = "; ".join(f"{column}: {cells[column][0]}" for column in common)
    blocks += [screen.wrap(f"all: {shared}", 2)] if shared else []
    return "\n".join(blocks)


def _align(texts: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(map(str.ljust, texts, widths)).rstrip()


def percent(fraction: float | None) -> str:
    """0.98765 -> '98.77'; None -> ''; only a whole 1.0 is '100.00'."""
    return "" if fraction is None else screen.format_percent(fraction).removesuffix("%")


def read_csv(path: pathlib.Path) -> list[dict[str, str]]:
    """Returns the rows of a CSV file of a run, [] where there is none."""
    if not path.exists():
        return []
    with open(path, newline="", errors="surrogateescape") as file:
        return list(csv.DictReader(file))
