"""Writes rows as a table: CSV, Markdown and LaTeX by pandas, and aligned text for the terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rethink.results import progress

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


def to_text(rows: Rows, columns: Sequence[str]) -> str:
    """Returns rows as aligned lines for the terminal; columns in which every cell is blank are left out."""
    shown = [column for column in columns if any(str(row[column]) for row in rows)]
    lines = [shown, *([str(row[column]) for column in shown] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def percent(fraction: float | None) -> str:
    """0.98765 -> '98.77'; None -> ''; only a whole 1.0 is '100.00'."""
    return "" if fraction is None else progress.format_percent(fraction).removesuffix("%")
